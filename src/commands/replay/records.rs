//! Reads a records file back into the records that it is about, and tells what becomes of each line.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    ops::ControlFlow,
    path::Path,
};

use super::{
    ReplayError, What, check_destination,
    parcels::{Parcel, Parcels, Route},
};
use crate::{
    cli::quarantine::Replay,
    commands::quarantine::each_line,
    config::Config,
    decode::{Block, Decoder},
    quarantine::{self, Line},
    spool::{Batch, ReadError, decode_file},
};

/// A batch for the daemon has at most this size, so that a failure costs little.
const PARCEL_BYTES: u64 = 16 << 20;

/// Records that are cut in the lines: by the body that holds them whole, by position.
type Cut = BTreeMap<String, Wanted>;

/// By position; more than one line may speak of a record.
type Wanted = BTreeMap<u64, Vec<Whole>>;

/// Takes a record for a place. `Err` ends the reading.
type TakeRecord<'a> = &'a mut dyn FnMut(&Whole, &[u8]) -> Result<(), ReplayError>;

/// Where a record that is cut belongs.
struct Whole {
    place: Route,
    length: u64,
    /// The line that speaks of it.
    line: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is blank, or not written to its end yet.
    Nothing,
    /// Its record is sent.
    Sent,
    /// It is not chosen.
    Left,
    /// It cannot be replayed.
    Skipped,
}

/// Lines that cannot be replayed, for one reason.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Skip {
    pub(super) reason: String,
    pub(super) lines: u64,
    pub(super) first_line: u64,
}

/// What identifies a record over all files: endpoint, dataset, the sink whose target refuses it, batch,
/// position and time of receipt.
pub(super) type Key = (String, String, Option<String>, u64, u64, String);

/// What identifies the record of a line.
pub(super) fn key(line: &Line<'_>) -> Key {
    let own = |text: &Cow<'_, str>| text.clone().into_owned();
    let sink = line.sink.as_ref().map(own);
    (own(&line.endpoint), own(&line.dataset), sink, line.batch, line.position, own(&line.received))
}

/// What becomes of the lines of a file.
#[derive(Debug, Default)]
pub(super) struct Plan {
    fates: Vec<Fate>,
    /// The only sink that is to get the records, if the command names one.
    sink: Option<String>,
    /// How many records are sent, and where to.
    pub(super) places: BTreeMap<Route, u64>,
    pub(super) skips: Vec<Skip>,
}

impl Plan {
    fn fate(&self, number: u64) -> Fate {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        at.and_then(|at| self.fates.get(at)).copied().unwrap_or(Fate::Nothing)
    }

    fn skip(&mut self, number: u64, reason: &str) {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        if let Some(fate) = at.and_then(|at| self.fates.get_mut(at)) {
            *fate = Fate::Skipped;
        }
        match self.skips.iter_mut().find(|skip| skip.reason == reason) {
            Some(skip) => {
                skip.lines += 1;
                skip.first_line = skip.first_line.min(number);
            }
            None => {
                self.skips.push(Skip { reason: reason.to_owned(), lines: 1, first_line: number });
            }
        }
    }

    /// A body that is sent.
    pub(super) fn of_body(place: Route) -> Self {
        Self { fates: vec![Fate::Sent], places: [(place, 1)].into(), ..Self::default() }
    }

    /// A body that cannot be sent.
    pub(super) fn of_skipped_body(why: &str) -> Self {
        let skip = Skip { reason: why.to_owned(), lines: 1, first_line: 0 };
        Self { skips: vec![skip], ..Self::default() }
    }

    /// Whether the record of a line is sent.
    pub(super) fn is_sent(&self, number: u64) -> bool {
        self.fate(number) == Fate::Sent
    }

    /// Whether anything is sent.
    pub(super) fn sends(&self) -> bool {
        self.fates.contains(&Fate::Sent)
    }

    /// Whether lines stay that are not sent.
    pub(super) fn has_rest(&self) -> bool {
        self.fates.iter().any(|fate| matches!(fate, Fate::Left | Fate::Skipped))
    }
}

/// Whether the last line may not be whole yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// The daemon may be writing to the file: a last line without its end is left out.
    Still,
    Finished,
}

/// Reads the file at `path` and decides what becomes of each line. `keys` gets what identifies the records
/// that are sent.
///
/// # Errors
/// The file cannot be read.
pub(super) fn plan(
    config: &Config,
    path: &Path,
    options: &Replay,
    written: Written,
    keys: Option<&mut HashSet<Key>>,
) -> Result<Plan, ReplayError> {
    let Replay { choice, sink, .. } = options;
    let mut plan = Plan { sink: sink.clone(), ..Plan::default() };
    let mut found = Vec::new();
    let mut cut = Cut::new();
    each_line(path, &mut |number, bytes| {
        let is_nothing =
            bytes.trim_ascii().is_empty() || (written == Written::Still && !bytes.ends_with(b"\n"));
        plan.fates.push(Fate::Nothing);
        if is_nothing {
            return Ok(ControlFlow::Continue(()));
        }
        let fate = match serde_json::from_slice::<Line<'_>>(bytes) {
            Ok(line) if !choice.takes(&line.endpoint, line.reason_label()) => Ok(Fate::Left),
            Ok(line) if is_for_another(&line, sink.as_deref()) => Ok(Fate::Left),
            Ok(line) => destined(config, &line, sink.as_deref()).and_then(|(place, contents)| {
                check_destination(config, &place)?;
                if let Contents::In(body) = contents {
                    let whole = Whole { place: place.clone(), length: line.length, line: number };
                    cut.entry(body).or_default().entry(line.position).or_default().push(whole);
                }
                *plan.places.entry(place).or_default() += 1;
                if keys.is_some() {
                    found.push((number, key(&line)));
                }
                Ok(Fate::Sent)
            }),
            // Whose line it is cannot be told.
            Err(_) if !choice.is_everything() => Ok(Fate::Left),
            Err(_) => {
                Err("it is not a line of the quarantine, as JSON: repair or delete it".into())
            }
        };
        match fate {
            Ok(fate) => {
                if let Some(last) = plan.fates.last_mut() {
                    *last = fate;
                }
            }
            Err(reason) => plan.skip(number, &reason),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (body, wanted) in cut {
        let mut found_lines = HashSet::new();
        let read = each_whole(config, &body, &wanted, &mut |whole, _| {
            found_lines.insert(whole.line);
            Ok(())
        });
        let why = match read {
            Ok(()) => format!("bodies/{body} does not have its record"),
            Err(failure) => failure.text().to_owned(),
        };
        let wanted = wanted.into_values().flatten();
        for whole in wanted.filter(|whole| !found_lines.contains(&whole.line)) {
            if let Some(count) = plan.places.get_mut(&whole.place) {
                *count -= 1;
            }
            plan.skip(whole.line, &why);
        }
    }
    plan.places.retain(|_, records| *records > 0);
    if let Some(keys) = keys {
        let sent = found.into_iter().filter(|(number, _)| plan.is_sent(*number));
        keys.extend(sent.map(|(_, key)| key));
    }
    Ok(plan)
}

/// Reads the file at `path` again and hands over the records that `plan` sends, gathered.
///
/// # Errors
/// `take`'s, or the file cannot be read any more.
pub(super) fn read(
    config: &Config,
    path: &Path,
    plan: &Plan,
    take: &mut dyn FnMut(&Route, Parcel) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let limits = &config.limits;
    let max_bytes = PARCEL_BYTES.min(limits.max_body_bytes / 2).min(limits.max_inflated_bytes / 2);
    let mut parcels = Parcels::new(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let mut cut = Cut::new();
    let mut outcome = Ok(());
    each_line(path, &mut |number, bytes| {
        if !plan.is_sent(number) {
            return Ok(ControlFlow::Continue(()));
        }
        outcome = (|| {
            let changed =
                |why: String| ReplayError::Flaw(format!("line {number} has changed: {why}"));
            let line = serde_json::from_slice::<Line<'_>>(bytes)
                .map_err(|error| changed(error.to_string()))?;
            match destined(config, &line, plan.sink.as_deref()).map_err(changed)? {
                (place, Contents::Here(record)) => parcels.add(&place, &record, take),
                (place, Contents::In(body)) => {
                    let whole = Whole { place, length: line.length, line: number };
                    cut.entry(body).or_default().entry(line.position).or_default().push(whole);
                    Ok(())
                }
            }
        })();
        Ok(if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    outcome?;
    for (body, wanted) in cut {
        each_whole(config, &body, &wanted, &mut |whole, record| {
            parcels.add(&whole.place, record, take)
        })?;
    }
    parcels.finish(take)
}

enum Contents<'a> {
    Here(Cow<'a, [u8]>),
    /// Cut in the line: whole in this file of `bodies/`.
    In(String),
}

/// Whether only another sink than the one that the command names lacks the record.
fn is_for_another(line: &Line<'_>, only: Option<&str>) -> bool {
    matches!((&line.sink, only), (Some(sink), Some(only)) if sink != only)
}

/// Where the record of a line goes, and what it is. What a sink's target has refused goes to that sink
/// alone; anything else to the sink `only`, if there is one.
fn destined<'a>(
    config: &Config,
    line: &'a Line<'_>,
    only: Option<&str>,
) -> Result<(Route, Contents<'a>), String> {
    super::path_of(config, &line.endpoint, &line.dataset, What::Records)?;
    let place = Route {
        endpoint: line.endpoint.to_string(),
        dataset: line.dataset.to_string(),
        sink: line.sink.as_deref().or(only).map(str::to_owned),
    };
    if let Some(body) = &line.body {
        return Ok((place, Contents::In(body.to_string())));
    }
    if let Some(record) = &line.record {
        return Ok((place, Contents::Here(record.as_bytes().into())));
    }
    let hex = line.record_hex.as_deref();
    let hex = hex.ok_or("it has no `record`, `record_hex` or `body`: repair or delete it")?;
    let record = quarantine::unhex(hex);
    let record = record.ok_or("its `record_hex` is not hexadecimal: repair or delete it")?;
    Ok((place, Contents::Here(record.into())))
}

/// Takes records out of a whole batch, by their positions. They come out whole also if they are
/// still too long: whether they are is for the daemon to say, which then keeps them whole again.
fn each_whole(
    config: &Config,
    body: &str,
    wanted: &Wanted,
    take: TakeRecord<'_>,
) -> Result<(), ReplayError> {
    let Some(batch) = Batch::from_file_name(body) else {
        let body = body.escape_debug();
        return Err(ReplayError::Flaw(format!("its `body`, `{body}`, is not the name of a body")));
    };
    let longest = wanted.values().flatten().map(|whole| whole.length).max().unwrap_or(0);
    let limit = usize::try_from(longest.max(config.limits.max_record_bytes)).unwrap_or(usize::MAX);
    let file = config.quarantine.dir.join(quarantine::BODIES).join(body);
    let mut position = 0;
    let header = &batch.header;
    let decoder =
        Decoder::for_replay(header.record_limit, header.encoding, header.rejected, header.edition)
            .with_record_limit(limit)
            .with_format(header.format);
    let read = decode_file(&file, decoder, &mut |block| {
        let mut outcome = Ok(());
        each_record(block, &mut position, &mut |position, record| {
            for whole in wanted.get(&position).into_iter().flatten() {
                if outcome.is_ok() {
                    outcome = take(whole, record);
                }
            }
        });
        outcome
    });
    read.map(drop).map_err(|error| match error {
        ReadError::Consumer(failure) => failure,
        ReadError::Io(error) => {
            ReplayError::Flaw(format!("its record is whole in bodies/{body} only: {error}"))
        }
        ReadError::Damaged(error) => {
            ReplayError::Flaw(format!("bodies/{body} is damaged: {error}"))
        }
    })
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
mod tests;
