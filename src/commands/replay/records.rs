//! Decides what a replay does with each line of a records file, and reads the records to send.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    ops::ControlFlow,
    path::Path,
};

use super::{
    ReplayError,
    batches::{ReplayBatch, ReplayBatches, Route},
    check_destination,
    router::{RecordSource, Router},
};
use crate::{
    cli::quarantine::Replay,
    commands::quarantine::each_line,
    config::Config,
    decode::{Block, Decoder},
    quarantine::{self, Line},
    spool::{Batch, ReadError, decode_file},
};

/// The maximum size of a batch for the daemon. A failed batch is sent again as a whole.
const MAX_BATCH_BYTES: u64 = 16 << 20;

/// Truncated records, by the file in `bodies/` that has them in full.
type CutRecords = BTreeMap<String, CutPositions>;

/// Truncated records by position. Several lines can be about the same record.
type CutPositions = BTreeMap<u64, Vec<CutRecord>>;

/// Handles a record that was truncated in its line. An error ends the reading.
type HandleCutRecord<'a> = &'a mut dyn FnMut(&CutRecord, &[u8]) -> Result<(), ReplayError>;

/// A record that is truncated in its line.
struct CutRecord {
    route: Route,
    /// The length of the whole record in bytes.
    length: u64,
    /// The number of the line.
    line: u64,
}

/// What a replay does with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineAction {
    /// Ignores a blank line, or one that the daemon is still writing.
    Ignore,
    /// Sends its record.
    Send,
    /// Leaves a line that the options do not select.
    Leave,
    /// Skips a line that cannot be replayed, and reports it.
    Skip,
}

/// Lines that cannot be replayed for the same reason.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Skip {
    pub(super) reason: String,
    pub(super) lines: u64,
    pub(super) first_line: u64,
}

/// Identifies a record in all files: endpoint, dataset, sink whose target refused it, batch,
/// position and receipt time.
pub(super) type RecordKey = (String, String, Option<String>, u64, u64, String);

/// Returns the key of the record of a line.
pub(super) fn key(line: &Line<'_>) -> RecordKey {
    let own = |text: &Cow<'_, str>| text.clone().into_owned();
    let sink = line.sink.as_ref().map(own);
    (own(&line.endpoint), own(&line.dataset), sink, line.batch, line.position, own(&line.received))
}

/// What a replay does with each line of a file.
#[derive(Debug, Default)]
pub(super) struct Plan {
    actions: Vec<LineAction>,
    router: Router,
    /// The number of records to send, by route.
    pub(super) routes: BTreeMap<Route, u64>,
    pub(super) skips: Vec<Skip>,
}

impl Plan {
    fn action(&self, number: u64) -> LineAction {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        at.and_then(|at| self.actions.get(at)).copied().unwrap_or(LineAction::Ignore)
    }

    fn skip(&mut self, number: u64, reason: &str) {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        if let Some(action) = at.and_then(|at| self.actions.get_mut(at)) {
            *action = LineAction::Skip;
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

    /// Creates the plan for a body that is sent.
    pub(super) fn of_body(route: Route) -> Self {
        Self { actions: vec![LineAction::Send], routes: [(route, 1)].into(), ..Self::default() }
    }

    /// Creates the plan for a body that cannot be sent.
    pub(super) fn of_skipped_body(reason: &str) -> Self {
        let skip = Skip { reason: reason.to_owned(), lines: 1, first_line: 0 };
        Self { skips: vec![skip], ..Self::default() }
    }

    /// Returns whether the record of a line is sent.
    pub(super) fn is_sent(&self, number: u64) -> bool {
        self.action(number) == LineAction::Send
    }

    /// Returns whether any record is sent.
    pub(super) fn sends(&self) -> bool {
        self.actions.contains(&LineAction::Send)
    }

    /// Returns whether lines stay in the file.
    pub(super) fn has_rest(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, LineAction::Leave | LineAction::Skip))
    }
}

/// Whether the daemon still writes to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FileState {
    /// The daemon may be writing: a last line without a line feed is ignored.
    Growing,
    Complete,
}

/// Reads the file at `path` and decides what to do with each line. Adds the keys of the records to
/// send to `keys`.
///
/// # Errors
/// The file cannot be read.
pub(super) fn plan(
    config: &Config,
    path: &Path,
    options: &Replay,
    state: FileState,
    keys: Option<&mut HashSet<RecordKey>>,
) -> Result<Plan, ReplayError> {
    let filter = &options.filter;
    let mut plan = Plan { router: Router::new(options), ..Plan::default() };
    let mut found = Vec::new();
    let mut cut_records = CutRecords::new();
    each_line(path, &mut |number, bytes| {
        let is_ignored = bytes.trim_ascii().is_empty()
            || (state == FileState::Growing && !bytes.ends_with(b"\n"));
        plan.actions.push(LineAction::Ignore);
        if is_ignored {
            return Ok(ControlFlow::Continue(()));
        }
        let action = match serde_json::from_slice::<Line<'_>>(bytes) {
            Ok(line) if !filter.matches(&line.endpoint, line.reason_label()) => {
                Ok(LineAction::Leave)
            }
            Ok(line) if plan.router.is_for_other_sink(&line) => Ok(LineAction::Leave),
            Ok(line) => plan.router.route_of(config, &line).and_then(|(route, contents)| {
                check_destination(config, &route)?;
                if let RecordSource::Body(body) = contents {
                    let cut_record =
                        CutRecord { route: route.clone(), length: line.length, line: number };
                    cut_records
                        .entry(body)
                        .or_default()
                        .entry(line.position)
                        .or_default()
                        .push(cut_record);
                }
                *plan.routes.entry(route).or_default() += 1;
                if keys.is_some() {
                    found.push((number, key(&line)));
                }
                Ok(LineAction::Send)
            }),
            // The endpoint and the reason of a damaged line are unknown.
            Err(_) if !filter.matches_all() => Ok(LineAction::Leave),
            Err(_) => Err("it is not a JSON object of the quarantine: fix or delete it".into()),
        };
        match action {
            Ok(action) => {
                if let Some(last) = plan.actions.last_mut() {
                    *last = action;
                }
            }
            Err(reason) => plan.skip(number, &reason),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (body, positions) in cut_records {
        let mut found_lines = HashSet::new();
        let read = each_cut_record(config, &body, &positions, &mut |cut_record, _| {
            found_lines.insert(cut_record.line);
            Ok(())
        });
        let why = match read {
            Ok(()) => format!("bodies/{body} does not contain its record"),
            Err(failure) => failure.text().to_owned(),
        };
        let positions = positions.into_values().flatten();
        for cut_record in positions.filter(|cut_record| !found_lines.contains(&cut_record.line)) {
            if let Some(count) = plan.routes.get_mut(&cut_record.route) {
                *count -= 1;
            }
            plan.skip(cut_record.line, &why);
        }
    }
    plan.routes.retain(|_, records| *records > 0);
    if let Some(keys) = keys {
        let sent = found.into_iter().filter(|(number, _)| plan.is_sent(*number));
        keys.extend(sent.map(|(_, key)| key));
    }
    Ok(plan)
}

/// Reads the file at `path` again and passes the records to send to `take`, in batches.
///
/// # Errors
/// `take` fails, or the file cannot be read any more.
pub(super) fn read(
    config: &Config,
    path: &Path,
    plan: &Plan,
    take: &mut dyn FnMut(&Route, ReplayBatch) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let limits = &config.limits;
    let max_bytes =
        MAX_BATCH_BYTES.min(limits.max_body_bytes / 2).min(limits.max_inflated_bytes / 2);
    let mut batches = ReplayBatches::new(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let mut cut_records = CutRecords::new();
    let mut outcome = Ok(());
    each_line(path, &mut |number, bytes| {
        if !plan.is_sent(number) {
            return Ok(ControlFlow::Continue(()));
        }
        outcome = (|| {
            let changed = |reason: String| {
                ReplayError::Unusable(format!("line {number} has changed: {reason}"))
            };
            let line = serde_json::from_slice::<Line<'_>>(bytes)
                .map_err(|error| changed(error.to_string()))?;
            match plan.router.route_of(config, &line).map_err(changed)? {
                (route, RecordSource::Inline(record)) => batches.add(&route, &record, take),
                (route, RecordSource::Body(body)) => {
                    let cut_record = CutRecord { route, length: line.length, line: number };
                    cut_records
                        .entry(body)
                        .or_default()
                        .entry(line.position)
                        .or_default()
                        .push(cut_record);
                    Ok(())
                }
            }
        })();
        Ok(if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    outcome?;
    for (body, positions) in cut_records {
        each_cut_record(config, &body, &positions, &mut |cut_record, record| {
            batches.add(&cut_record.route, record, take)
        })?;
    }
    batches.finish(take)
}

/// Reads records from a quarantined batch by their positions. Records that are still too long are
/// read too: the daemon decides, and quarantines them again.
fn each_cut_record(
    config: &Config,
    body: &str,
    positions: &CutPositions,
    take: HandleCutRecord<'_>,
) -> Result<(), ReplayError> {
    let Some(batch) = Batch::from_file_name(body) else {
        let body = body.escape_debug();
        return Err(ReplayError::Unusable(format!(
            "its `body`, `{body}`, is not the name of a body"
        )));
    };
    let longest =
        positions.values().flatten().map(|cut_record| cut_record.length).max().unwrap_or(0);
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
            for cut_record in positions.get(&position).into_iter().flatten() {
                if outcome.is_ok() {
                    outcome = take(cut_record, record);
                }
            }
        });
        outcome
    });
    read.map(drop).map_err(|error| match error {
        ReadError::Consumer(failure) => failure,
        ReadError::Io(error) => {
            ReplayError::Unusable(format!("cannot read its record from bodies/{body}: {error}"))
        }
        ReadError::Damaged(error) => {
            ReplayError::Unusable(format!("bodies/{body} is damaged: {error}"))
        }
    })
}

/// Passes the records and rejects of a block to `handle`, in order. `position` is the position
/// before the block, and becomes that of its last record.
fn each_record(block: &Block, position: &mut u64, handle: &mut dyn FnMut(u64, &[u8])) {
    let mut rejects = block.rejects.iter().peekable();
    let mut records = block.iter();
    loop {
        if let Some(reject) = rejects.next_if(|reject| reject.position == *position + 1) {
            *position += 1;
            handle(*position, &reject.bytes);
        } else if let Some(record) = records.next() {
            *position += 1;
            handle(*position, record);
        } else {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
