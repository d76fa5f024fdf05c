//! Reads a records file back into the records that it is about.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use super::{
    Failure, What,
    parcels::{Parcel, Parcels, Place},
};
use crate::{
    config::Config,
    decode::{Block, Decoder},
    durable,
    quarantine::{self, Line},
    spool::{Batch, ReadError, decode_file},
};

/// A batch for the daemon has at most this size, so that a failure costs little.
const PARCEL_BYTES: u64 = 16 << 20;

/// Records that are cut in the lines: by the body that holds them whole, by position.
type Cut = BTreeMap<String, BTreeMap<u64, Whole>>;

/// Takes a record for a place.
type TakeRecord<'a> = &'a mut dyn FnMut(&Place, &[u8]) -> Result<(), Failure>;

/// Where a record that is cut belongs.
struct Whole {
    place: Place,
    length: u64,
    /// The line that speaks of it.
    line: u64,
}

/// Reads the records file at `path` and hands over its records, gathered. `still_written`: the last
/// line may not be whole yet, and is then left out.
///
/// # Errors
/// `take`'s, or the first thing about the file that must be mended before it can be replayed.
pub(super) fn read(
    config: &Config,
    path: &Path,
    still_written: bool,
    take: &mut dyn FnMut(&Place, Parcel) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let limits = &config.limits;
    let max_bytes = PARCEL_BYTES.min(limits.max_body_bytes / 2).min(limits.max_inflated_bytes / 2);
    let mut parcels = Parcels::new(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let mut cut = Cut::new();

    let file = File::open(path).map_err(durable::at("opening", path))?;
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let mut bytes = Vec::new();
    let mut number = 0;
    while file.read_until(b'\n', &mut bytes).map_err(durable::at("reading", path))? > 0 {
        number += 1;
        let flaw = |what: String| Failure::Flaw(format!("{}:{number}: {what}", path.display()));
        match serde_json::from_slice::<Line<'_>>(&bytes) {
            Ok(line) => {
                let place = place(config, &line).map_err(flaw)?;
                match contents(&line).map_err(flaw)? {
                    Contents::Here(record) => parcels.add(&place, &record, take)?,
                    Contents::In(body) => {
                        let whole = Whole { place, length: line.length, line: number };
                        cut.entry(body).or_default().insert(line.position, whole);
                    }
                }
            }
            Err(_) if bytes.trim_ascii().is_empty() => {}
            Err(_) if still_written && !bytes.ends_with(b"\n") => {}
            Err(error) => {
                return Err(flaw(format!("not a quarantine line: {error}; mend or delete it")));
            }
        }
        bytes.clear();
    }
    for (body, wanted) in cut {
        take_whole(config, path, &body, wanted, &mut |place, record| {
            parcels.add(place, record, take)
        })?;
    }
    parcels.finish(take)
}

/// Where the record goes, if the configuration still has the place.
fn place(config: &Config, line: &Line<'_>) -> Result<Place, String> {
    super::path_of(config, &line.endpoint, &line.dataset, What::Records)?;
    Ok((line.endpoint.to_string(), line.dataset.to_string()))
}

enum Contents<'a> {
    Here(std::borrow::Cow<'a, [u8]>),
    /// Cut in the line: whole in this file of `bodies/`.
    In(String),
}

fn contents<'a>(line: &'a Line<'_>) -> Result<Contents<'a>, String> {
    if let Some(body) = &line.body {
        return Ok(Contents::In(body.to_string()));
    }
    if let Some(record) = &line.record {
        return Ok(Contents::Here(record.as_bytes().into()));
    }
    let hex = line.record_hex.as_deref().ok_or("has no `record`, `record_hex` or `body`")?;
    let record = quarantine::unhex(hex).ok_or("`record_hex` is not hexadecimal")?;
    Ok(Contents::Here(record.into()))
}

/// Takes records out of a whole batch, by their positions. They come out whole also if they are
/// still too long: whether they are is for the daemon to say, which then keeps them whole again.
fn take_whole(
    config: &Config,
    path: &Path,
    body: &str,
    mut wanted: BTreeMap<u64, Whole>,
    take: TakeRecord<'_>,
) -> Result<(), Failure> {
    let flaw = |line: u64, what: &str| {
        Failure::Flaw(format!(
            "{}:{line}: {what}; to go on without this record, delete the line",
            path.display()
        ))
    };
    let line = wanted.values().map(|whole| whole.line).min().unwrap_or(0);
    let Some(batch) = Batch::from_file_name(body) else {
        return Err(flaw(line, &format!("`{body}` is not the name of a body")));
    };
    let longest = wanted.values().map(|whole| whole.length).max().unwrap_or(0);
    let limit = usize::try_from(longest.max(config.limits.max_record_bytes)).unwrap_or(usize::MAX);
    let file = config.quarantine.dir.join(quarantine::BODIES).join(body);
    let mut position = 0;
    let header = &batch.header;
    let decoder =
        Decoder::again(header.record_limit, header.encoding, header.rejected, header.edition)
            .taking(limit)
            .of(header.format);
    let read = decode_file(&file, decoder, &mut |block| {
        let mut outcome = Ok(());
        each_record(block, &mut position, &mut |position, record| {
            if outcome.is_ok()
                && let Some(whole) = wanted.remove(&position)
            {
                outcome = take(&whole.place, record);
            }
        });
        outcome
    });
    read.map_err(|error| match error {
        ReadError::Taker(failure) => failure,
        ReadError::Io(error) => flaw(line, &format!("its record cannot be had whole: {error}")),
        ReadError::Damaged(error) => flaw(line, &format!("{} is damaged: {error}", file.display())),
    })?;
    match wanted.first_key_value() {
        None => Ok(()),
        Some((position, whole)) => {
            let what = format!("{} has no record number {position}", file.display());
            Err(flaw(whole.line, &what))
        }
    }
}

/// Walks over the records and rejects of a block in their order. `position` is that of the last one
/// before it, and then of its last.
fn each_record(block: &Block, position: &mut u64, visit: &mut dyn FnMut(u64, &[u8])) {
    let mut rejects = block.rejects.iter().peekable();
    let mut records = block.iter();
    loop {
        if let Some(reject) = rejects.next_if(|reject| reject.position == *position + 1) {
            *position += 1;
            visit(*position, &reject.bytes);
        } else if let Some(record) = records.next() {
            *position += 1;
            visit(*position, record);
        } else {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        commands::replay::tests::Folder,
        decode::{Edition, Encoding, Format},
        spool::Header,
    };

    fn line(position: u64, rest: &str) -> String {
        format!(
            "{{\"reason\":\"x\",\"endpoint\":\"main\",\"dataset\":\"dns_logs\",\"batch\":1,\
             \"received\":\"2026-01-02T03:04:05Z\",\"position\":{position},\"length\":20,{rest}}}\n"
        )
    }

    /// All bodies of a file, or what is wrong with it.
    fn bodies(folder: &Folder, text: &str, still_written: bool) -> Result<String, String> {
        let path = folder.path("records-2026-01-02.ndjson");
        fs::write(&path, text).unwrap();
        let mut all = Vec::new();
        let read = read(&folder.config, &path, still_written, &mut |_, parcel| {
            all.extend(parcel.into_body(Vec::new()));
            Ok(())
        });
        read.map_err(|failure| failure.text().to_owned())?;
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    #[test]
    fn records_come_back_as_they_were() {
        let folder = Folder::new();
        let text = [
            line(1, "\"record\":\"{\\\"a\\\":\""),
            "\n".to_owned(),
            line(2, "\"record_hex\":\"7bc37d\""),
            line(3, "\"record\":\"{}\"").trim_end().to_owned(),
        ];
        let bodies = bodies(&folder, &text.concat(), false).unwrap();
        assert_eq!(bodies, "{\"a\":\n{\u{fffd}}\n{}\n");
    }

    #[test]
    fn what_was_cut_comes_whole_out_of_its_batch() {
        let folder = Folder::new();
        let header = Header {
            received: jiff::Timestamp::UNIX_EPOCH,
            endpoint: "main".into(),
            dataset: "dns_logs".into(),
            records: 1,
            rejected: 4,
            record_limit: 10,
            digest: 1,
            encoding: Encoding::Identity,
            format: Format::Json,
            edition: Edition::First,
        };
        let body = Batch { sequence: 1, header }.file_name();
        let long = |c: &str| format!("{{\"a\":\"{}\"}}", c.repeat(100_000));
        let batch = format!("not json\n{}\r\n\n{{\"b\":2}}\n[1]\n{}\n", long("x"), long("y"));
        fs::create_dir_all(folder.path("bodies")).unwrap();
        fs::write(folder.path("bodies").join(&body), batch).unwrap();

        let cut = |position| line(position, &format!("\"record\":\"{{\",\"body\":\"{body}\""));
        let cut = |position| cut(position).replace("\"length\":20", "\"length\":100008");
        let text = [cut(5), line(1, "\"record\":\"not json\""), cut(2)].concat();
        let got = bodies(&folder, &text, false).unwrap();
        assert_eq!(got, format!("not json\n{}\n{}\n", long("x"), long("y")));

        let error = bodies(&folder, &[cut(2), cut(6)].concat(), false).unwrap_err();
        assert!(error.contains(".ndjson:2: ") && error.contains("no record number 6"), "{error}");
        fs::remove_file(folder.path("bodies").join(&body)).unwrap();
        let error = bodies(&folder, &text, false).unwrap_err();
        assert!(error.contains(".ndjson:1: ") && error.contains("delete the line"), "{error}");
    }

    #[test]
    fn what_must_be_mended_is_named() {
        let folder = Folder::new();
        for (text, want) in [
            (line(1, "\"x\":1"), "no `record`"),
            (line(1, "\"record_hex\":\"0\""), "not hexadecimal"),
            (line(1, "\"record\":\"{}\"").replace("main", "gone"), "no endpoint `gone`"),
            (line(1, "\"record\":\"{}\"").replace("dns_logs", "A/b"), "no dataset `A/b`"),
            (line(1, "\"body\":\"../x\""), "not the name of a body"),
            ("{\"reason\":".to_owned(), "not a quarantine line"),
        ] {
            let text = [line(1, "\"record\":\"{}\""), text].concat();
            let error = bodies(&folder, &text, false).unwrap_err();
            assert!(error.contains(".ndjson:2: ") && error.contains(want), "{error}");
        }
        let text = [line(1, "\"record\":\"{}\""), "{\"reason\":".to_owned()].concat();
        assert_eq!(bodies(&folder, &text, true).unwrap(), "{}\n");
    }
}
