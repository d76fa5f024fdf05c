//! `logpushd job`: Logpush jobs, over Cloudflare's API.

mod endpoint;
pub mod options;
mod session;
mod settings;
mod show;

use std::io::Write;

use command::{
    fatal::Fatal,
    table::{self, Align},
};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

pub use self::{
    endpoint::{Endpoint, EndpointQuery, FindEndpoint},
    options::JobCommand,
};
use self::{
    options::{Create, Delete, Fields, Target, Update, Validate},
    session::Session,
    settings::{Doubts, changes, destination, filter},
};
use crate::api::{
    Call, destination as conf,
    health::{self, State},
    job::Job,
    output::{OutputOptions, TimestampFormat},
};

/// Does what `command` says. `find` looks up the endpoint of `--endpoint`.
///
/// # Errors
/// Also if the API refuses.
pub fn run(command: &JobCommand, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    match command {
        JobCommand::List(api) => list(&Session::new(api)?, api.json, out),
        JobCommand::Show(target) => show(target, out),
        JobCommand::Create(options) => create(options, find, out),
        JobCommand::Update(options) => update(options, find, out),
        JobCommand::Enable(target) => set_enabled(target, true, out),
        JobCommand::Disable(target) => set_enabled(target, false, out),
        JobCommand::Delete(options) => delete(options, out),
        JobCommand::Fields(options) => fields(options, out),
        JobCommand::Validate(options) => validate(options, find, out),
    }
}

/// What the API answered, as it should be.
fn typed<T: DeserializeOwned>(result: Value) -> Result<T, Fatal> {
    T::deserialize(result).map_err(|error| {
        Fatal::Unavailable(format!(
            "the API answered something else than it should: {error}; --json shows it"
        ))
    })
}

/// All problems at once.
fn refuse(problems: &[String]) -> Result<(), Fatal> {
    if problems.is_empty() { Ok(()) } else { Err(Fatal::Usage(problems.join("\nlogpushd: "))) }
}

fn list(session: &Session<'_>, json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let Some(result) = session.call(&Call::list(&session.scope), out)? else { return Ok(()) };
    if json {
        return Ok(session.print_json(result, out)?);
    }
    // The API's schema allows for holes.
    let mut jobs: Vec<Job> = typed::<Vec<Option<Job>>>(result)?.into_iter().flatten().collect();
    jobs.sort_unstable_by_key(|job| job.id);
    if jobs.is_empty() {
        writeln!(out, "there is no job: logpushd job create makes one")?;
        return Ok(());
    }
    let now = Timestamp::now();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            [
                job.id.to_string(),
                or_dash(conf::printable(&job.dataset)),
                State::of(job, now).word().to_owned(),
                or_dash(job.last_complete.map(|time| time.to_string()).unwrap_or_default()),
                conf::place(&conf::printable(&job.destination_conf)),
                or_dash(conf::printable(&job.name)),
            ]
        })
        .collect();
    let columns = [
        ("ID", Align::Right),
        ("DATASET", Align::Left),
        ("STATE", Align::Left),
        ("DELIVERED", Align::Left),
        ("DESTINATION", Align::Left),
        // Last, since it may have blanks in it.
        ("NAME", Align::Left),
    ];
    Ok(table::write(out, columns, &rows)?)
}

fn show(target: &Target, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&target.api)?;
    let call = Call::show(&session.scope, target.id);
    let Some(result) = session.call(&call, out)? else { return Ok(()) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    Ok(show::write(&session, &typed(result)?, Timestamp::now(), out)?)
}

fn create(options: &Create, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    let dataset = options.dataset.as_str();
    let mut problems = Vec::new();
    let (sent, endpoint) = destination(&options.destination, Some(dataset), find, &mut problems)?;
    if sent.is_none() && problems.is_empty() {
        problems.push(
            "say where to send it: --endpoint, or --destination with a URL, @FILE or -".to_owned(),
        );
    }
    if options.settings.fields.is_none() && !options.settings.all_fields {
        problems.push(
            "say what to send: --fields, or --all-fields; logpushd job fields lists them"
                .to_owned(),
        );
    }
    if options.kind.is_some() && dataset != "http_requests" {
        problems.push(format!("--kind edge is for http_requests only, not for {dataset}"));
    }
    let mut output = options.settings.output();
    // To the nanosecond, and no number: those of unixnano, Cloudflare's default, are too large for
    // what reads JSON with numbers of 53 bits, jq for one. rfc3339 drops the fraction.
    output.timestamp_format.get_or_insert(TimestampFormat::Rfc3339Ns);
    problems.extend(output.problems(Some(dataset)));
    if let Some(endpoint) = &endpoint {
        problems.extend(endpoint::differences(endpoint, &output, options.settings.all_fields));
    }
    let mut job = changes(&options.settings, Some(dataset), &mut problems)?;
    refuse(&problems)?;

    let session = Session::new(&options.api)?;
    let doubts = Doubts::of(Some(dataset), Some(&options.settings), &session.scope);
    if options.settings.all_fields {
        let fields = all_fields(&session, dataset, out).map_err(|fatal| doubts.explain(fatal))?;
        output.field_names = Some(fields);
        // Now they are known.
        if let Some(endpoint) = endpoint.filter(|_| !options.api.dry_run) {
            refuse(&endpoint::differences(&endpoint, &output, false))?;
        }
    }
    job.insert("dataset".into(), dataset.into());
    job.insert("enabled".into(), (!options.disabled).into());
    job.insert("destination_conf".into(), sent.into());
    job.insert("output_options".into(), json!(output));
    if let Some(kind) = &options.kind {
        job.insert("kind".into(), kind.as_str().into());
    }
    let call = Call::create(&session.scope, job.into());
    let called = session.call(&call, out).map_err(|fatal| doubts.explain(fatal))?;
    let Some(result) = called else { return Ok(doubts.write(out)?) };
    if options.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let job: Job = typed(result)?;
    let (id, scope) = (job.id, session.scope.option());
    writeln!(out, "job {id} for {dataset}: created, and Cloudflare's destination check succeeded")?;
    if job.enabled {
        writeln!(
            out,
            "The first records come within some minutes. How it is doing: logpushd job show {id} {scope}"
        )?;
    } else {
        writeln!(out, "It is disabled. To begin: logpushd job enable {id} {scope}")?;
    }
    Ok(())
}

/// The names of all fields; in a dry run a word that stands for them.
fn all_fields(
    session: &Session<'_>,
    dataset: &str,
    out: &mut dyn Write,
) -> Result<Vec<String>, Fatal> {
    match session.call(&Call::fields(&session.scope, dataset), out)? {
        Some(result) => Ok(typed::<Map<String, Value>>(result)?.into_iter().map(|f| f.0).collect()),
        None => Ok(vec!["(each field of that answer)".to_owned()]),
    }
}

fn update(options: &Update, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    let Update { target, settings, .. } = options;
    let mut problems = Vec::new();
    let dataset = options.dataset.as_deref();
    let (sent, endpoint) = destination(&options.destination, dataset, find, &mut problems)?;
    let mut output = settings.output();
    problems.extend(output.problems(None));
    let mut job = changes(settings, dataset, &mut problems)?;
    if let Some(sent) = sent {
        job.insert("destination_conf".into(), sent.into());
    }
    if job.is_empty() && output.is_empty() && !settings.all_fields && problems.is_empty() {
        problems.push("say what to change: logpushd job update --help".to_owned());
    }
    refuse(&problems)?;

    let session = Session::new(&target.api)?;
    let mut known = String::new();
    let changes_output = !output.is_empty() || settings.all_fields;
    if changes_output || endpoint.is_some() {
        // They are replaced as a whole, and the endpoint must read all of them.
        let before = session.call(&Call::show(&session.scope, target.id), out)?;
        let before = before.map(typed::<Job>).transpose()?;
        let dataset = before.as_ref().map_or("(its dataset)", |job| &job.dataset);
        known = before.as_ref().map(|job| job.destination_conf.clone()).unwrap_or_default();
        if settings.all_fields {
            output.field_names = Some(all_fields(&session, dataset, out)?);
        }
        let merged = match &before {
            // Nothing of it is replaced.
            Some(job) if !changes_output => job.output_options.clone(),
            _ => merged(before.as_ref(), &output)?,
        };
        if let Some(endpoint) = endpoint.filter(|_| before.is_some()) {
            refuse(&endpoint::differences(&endpoint, &endpoint::output_of(&merged), false))?;
        }
        if changes_output {
            job.insert("output_options".into(), merged.into());
            if before.is_none() {
                writeln!(out, "(with what else stands in output_options of the first answer)")?;
            }
        }
    }
    let call = Call::update(&session.scope, target.id, job.into());
    let doubts = Doubts::of(None, Some(settings), &session.scope);
    let called = session.call_about(&call, &known, out).map_err(|fatal| doubts.explain(fatal))?;
    let Some(result) = called else { return Ok(doubts.write(out)?) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let id = target.id;
    writeln!(out, "job {id}: changed. Cloudflare may go on as before for 15 minutes")?;
    Ok(())
}

/// The output options of a job with some of them changed.
fn merged(before: Option<&Job>, changed: &OutputOptions) -> Result<Map<String, Value>, Fatal> {
    let mut options = before.map(|job| job.output_options.clone()).unwrap_or_default();
    if let Some(before) = before {
        refuse(&changed.problems(Some(&before.dataset)))?;
        if options.is_empty() && !before.logpull_options.is_empty() && changed.field_names.is_none()
        {
            return Err(Fatal::Usage(format!(
                "job {} still has its output in logpull_options, which this would replace as a whole: name --fields as well",
                before.id
            )));
        }
    }
    if let Value::Object(changed) = json!(changed) {
        options.extend(changed);
    }
    Ok(options)
}

fn set_enabled(target: &Target, enabled: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&target.api)?;
    let call = Call::update(&session.scope, target.id, json!({ "enabled": enabled }));
    let Some(result) = session.call(&call, out)? else { return Ok(()) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let (id, word) = (target.id, if enabled { "enabled" } else { "disabled" });
    Ok(writeln!(out, "job {id}: {word}")?)
}

fn delete(options: &Delete, out: &mut dyn Write) -> Result<(), Fatal> {
    let Delete { target, yes } = options;
    if !yes && !target.api.dry_run {
        return Err(Fatal::Usage(format!(
            "job {} would be gone for good: say --yes; logpushd job disable can be undone",
            target.id
        )));
    }
    let session = Session::new(&target.api)?;
    let Some(result) = session.call(&Call::delete(&session.scope, target.id), out)? else {
        return Ok(());
    };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    Ok(writeln!(out, "job {}: deleted", target.id)?)
}

fn fields(options: &Fields, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&options.api)?;
    let call = Call::fields(&session.scope, &options.dataset);
    let doubts = Doubts::of(Some(&options.dataset), None, &session.scope);
    let called = session.call(&call, out).map_err(|fatal| doubts.explain(fatal))?;
    let Some(result) = called else { return Ok(doubts.write(out)?) };
    if options.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let fields = typed::<Map<String, Value>>(result)?;
    let rows: Vec<_> = fields
        .iter()
        .map(|(name, text)| {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            [conf::printable(name), conf::printable(&text)]
        })
        .collect();
    Ok(table::write(out, [("FIELD", Align::Left), ("DESCRIPTION", Align::Left)], &rows)?)
}

/// What the API says of a destination.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    valid: bool,
    #[serde(default)]
    message: String,
}

/// Whether a job sends there.
#[derive(Deserialize)]
struct Existence {
    #[serde(default)]
    exists: bool,
}

fn validate(options: &Validate, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut problems = Vec::new();
    let dataset = options.dataset.as_deref();
    let (sent, _) = destination(&options.destination, dataset, find, &mut problems)?;
    if let Some(text) = &options.filter {
        filter(text, dataset, &mut problems)?;
    }
    if sent.is_none() && problems.is_empty() {
        problems.push("say which: --endpoint, or --destination with a URL, @FILE or -".to_owned());
    }
    refuse(&problems)?;
    let sent = sent.unwrap_or_default();
    let session = Session::new(&options.api)?;
    let verdict = session.call(&Call::validate(&session.scope, &sent), out)?;
    let existence = session.call(&Call::exists(&session.scope, &sent), out)?;
    let Some((verdict, existence)) = verdict.zip(existence) else { return Ok(()) };
    if options.api.json {
        let both = json!({ "destination": verdict, "exists": existence });
        session.print_json_about(both, &sent, out)?;
    }
    let Verdict { valid, message } = typed(verdict)?;
    if !valid {
        let message = conf::cleaned(&message, &sent);
        let advice = health::advice(&message);
        let advice = advice.map(|advice| format!("\n  {advice}")).unwrap_or_default();
        return Err(Fatal::Unavailable(format!("the destination is not valid: {message}{advice}")));
    }
    if !options.api.json {
        writeln!(out, "valid: Cloudflare's destination check succeeded")?;
        if typed::<Existence>(existence)?.exists {
            writeln!(out, "A job of this zone or account sends there already, which is allowed.")?;
        }
    }
    Ok(())
}
