//! Text of the documentation.

/// The longest line of prose.
pub(crate) const WIDTH: usize = 100;

/// Breaks a paragraph into lines.
pub(crate) fn wrapped(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 {
            let fits = column + 1 + word.len() <= WIDTH;
            wrapped.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        wrapped += word;
        column += word.len();
    }
    wrapped
}
