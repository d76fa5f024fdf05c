//! Tables for people and for `awk`: aligned columns, separated by spaces. No cell may contain a
//! space.

use std::io::{self, Write};

/// The alignment of a column.
#[derive(Clone, Copy, Debug)]
pub enum Align {
    /// To the left.
    Left,
    /// To the right, for numbers.
    Right,
}

/// Writes a line of titles and then the rows, with two spaces between columns.
pub fn write<const N: usize>(
    out: &mut dyn Write,
    columns: [(&str, Align); N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = columns.map(|(title, _)| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let titles = columns.map(|(title, _)| title.to_owned());
    for row in std::iter::once(&titles).chain(rows) {
        text.clear();
        for ((cell, width), (_, align)) in row.iter().zip(widths).zip(columns) {
            let fill = " ".repeat(width - cell.chars().count());
            match align {
                Align::Left => text.extend([cell.as_str(), &fill]),
                Align::Right => text.extend([fill.as_str(), cell]),
            }
            text.push_str("  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows =
            [["a".to_owned(), "7".to_owned()], ["long\u{e9}r".to_owned(), "1234".to_owned()]];
        write(&mut out, [("NAME", Align::Left), ("NO", Align::Right)], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME      NO\na          7\nlong\u{e9}r  1234\n"
        );
    }
}
