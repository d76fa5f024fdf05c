//! Decides where the record of a line goes.

use std::borrow::Cow;

use super::{BodyKind, batches::Route, path_of};
use crate::{
    cli::quarantine::Replay,
    config::Config,
    quarantine::{self, Line, selection_text},
    spool::OnlySink,
};

/// The options of a replay that decide where records go.
#[derive(Debug, Default)]
pub(super) struct Router {
    /// The only sink that gets the records, if the command names one.
    sink: Option<String>,
    /// Whether dead letters go through a selection that has changed.
    applies_selection: bool,
}

/// Where the whole record of a line is.
pub(super) enum RecordSource<'a> {
    Inline(Cow<'a, [u8]>),
    /// In this file in `bodies/`; the line has only its beginning.
    Body(String),
}

impl Router {
    pub(super) fn new(options: &Replay) -> Self {
        Self { sink: options.sink.clone(), applies_selection: options.apply_selection }
    }

    /// Returns whether the target of a sink other than the only one refused the record.
    pub(super) fn is_for_other_sink(&self, line: &Line<'_>) -> bool {
        matches!((&line.sink, &self.sink), (Some(sink), Some(only)) if sink != only)
    }

    /// Returns the route and the record of a line. A record that the target of a sink refused goes
    /// only to that sink, any other record to the only sink of the command, or to all sinks.
    ///
    /// # Errors
    /// Why the record cannot be replayed.
    pub(super) fn route_of<'a>(
        &self,
        config: &Config,
        line: &'a Line<'_>,
    ) -> Result<(Route, RecordSource<'a>), String> {
        path_of(config, &line.endpoint, &line.dataset, BodyKind::Records)?;
        let sink = match &line.sink {
            Some(name) => Some(self.sink_of_dead_letter(config, line, name)?),
            None => self.sink.clone().map(|name| OnlySink { name, selection: None }),
        };
        let route =
            Route { endpoint: line.endpoint.to_string(), dataset: line.dataset.to_string(), sink };
        if let Some(body) = &line.body {
            return Ok((route, RecordSource::Body(body.to_string())));
        }
        if let Some(record) = &line.record {
            return Ok((route, RecordSource::Inline(record.as_bytes().into())));
        }
        let hex = line.record_hex.as_deref();
        let hex = hex.ok_or("it has no `record`, `record_hex` or `body`: fix or delete it")?;
        let record = quarantine::unhex(hex);
        let record = record.ok_or("its `record_hex` is not hexadecimal: fix or delete it")?;
        Ok((route, RecordSource::Inline(record.into())))
    }

    /// Returns the sink `name` for a record that its target refused. The record does not go through
    /// the sink's selection again if that has not changed.
    fn sink_of_dead_letter(
        &self,
        config: &Config,
        line: &Line<'_>,
        name: &str,
    ) -> Result<OnlySink, String> {
        let only = |selection| Ok(OnlySink { name: name.to_owned(), selection });
        let sink = config.sinks.iter().find(|sink| sink.name == name);
        // Without the sink, the line is skipped for that reason.
        let (Some(passed), Some(sink)) = (&line.selection, sink) else { return only(None) };
        let current = sink.choice.fingerprint();
        if current.is_some_and(|current| selection_text(current) == **passed) {
            return only(current);
        }
        if self.applies_selection || sink.choice.takes_all_records() {
            return only(None);
        }
        Err(format!(
            "sink {name} has other filters, masks or added fields than when its target refused the \
             record: restore them, or let the record go through the present ones with \
             --apply-selection"
        ))
    }
}
