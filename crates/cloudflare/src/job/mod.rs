//! `logpushd job`: manages Logpush jobs over Cloudflare's API.

mod endpoint;
mod options;
mod request;
mod session;
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
    endpoint::{EndpointQuery, FindEndpoint, JobEndpoint},
    options::JobCommand,
};
use self::{
    options::{
        CreateOptions, DeleteOptions, FieldsOptions, JobTarget, UpdateOptions, ValidateOptions,
    },
    request::{Warnings, destination, filter, job_members},
    session::Session,
};
use crate::api::{
    ApiCall, destination as conf,
    health::{self, JobState},
    job::Job,
    output::{OutputOptions, TimestampFormat},
};

/// Runs a subcommand. `find` looks up the endpoint of `--endpoint`.
///
/// # Errors
/// An option is invalid, a file cannot be read, or the API refuses the request or cannot be reached.
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

/// Deserializes the result of an API call.
fn parse_result<T: DeserializeOwned>(result: Value) -> Result<T, Fatal> {
    T::deserialize(result).map_err(|error| {
        Fatal::Unavailable(format!(
            "cannot parse the response of the API: {error}; --json shows the response"
        ))
    })
}

/// Fails with all problems, if there is any.
fn fail_if_any(problems: &[String]) -> Result<(), Fatal> {
    if problems.is_empty() { Ok(()) } else { Err(Fatal::Usage(problems.join("\nlogpushd: "))) }
}

fn list(session: &Session<'_>, json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let Some(result) = session.call(&ApiCall::list(&session.scope), out)? else { return Ok(()) };
    if json {
        return Ok(session.print_json(result, out)?);
    }
    // The API's schema allows null in the list.
    let mut jobs: Vec<Job> =
        parse_result::<Vec<Option<Job>>>(result)?.into_iter().flatten().collect();
    jobs.sort_unstable_by_key(|job| job.id);
    if jobs.is_empty() {
        writeln!(out, "no jobs; create one with: logpushd job create")?;
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
                JobState::from_job(job, now).as_str().to_owned(),
                or_dash(job.last_complete.map(|time| time.to_string()).unwrap_or_default()),
                conf::origin(&conf::printable(&job.destination_conf)),
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
        // The last column, since a name may contain spaces.
        ("NAME", Align::Left),
    ];
    Ok(table::write(out, columns, &rows)?)
}

fn show(target: &JobTarget, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&target.api)?;
    let call = ApiCall::show(&session.scope, target.id);
    let Some(result) = session.call(&call, out)? else { return Ok(()) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    Ok(show::write(&session, &parse_result(result)?, Timestamp::now(), out)?)
}

fn create(options: &CreateOptions, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    let dataset = options.dataset.as_str();
    let mut problems = Vec::new();
    let (sent, endpoint) = destination(&options.destination, Some(dataset), find, &mut problems)?;
    if sent.is_none() && problems.is_empty() {
        problems.push(
            "the destination is missing: add --endpoint, or --destination with a URL, @FILE or -"
                .to_owned(),
        );
    }
    if options.settings.fields.is_none() && !options.settings.all_fields {
        problems.push(
            "the fields are missing: add --fields or --all-fields; logpushd job fields lists them"
                .to_owned(),
        );
    }
    if options.kind.is_some() && dataset != "http_requests" {
        problems.push(format!("--kind edge is only for http_requests, not for {dataset}"));
    }
    let mut output = options.settings.output();
    // Readers that store numbers in 53 bits, such as jq, round the numbers of unixnano, Cloudflare's
    // default; rfc3339 drops the fraction.
    output.timestamp_format.get_or_insert(TimestampFormat::Rfc3339Ns);
    problems.extend(output.problems(Some(dataset)));
    if let Some(endpoint) = &endpoint {
        problems.extend(endpoint::differences(endpoint, &output, options.settings.all_fields));
    }
    let mut job = job_members(&options.settings, Some(dataset), &mut problems)?;
    fail_if_any(&problems)?;

    let session = Session::new(&options.api)?;
    let warnings = Warnings::new(Some(dataset), Some(&options.settings), &session.scope);
    if options.settings.all_fields {
        let fields = all_fields(&session, dataset, out).map_err(|fatal| warnings.explain(fatal))?;
        output.field_names = Some(fields);
        // Compare again, now that the fields are known.
        if let Some(endpoint) = endpoint.filter(|_| !options.api.dry_run) {
            fail_if_any(&endpoint::differences(&endpoint, &output, false))?;
        }
    }
    job.insert("dataset".into(), dataset.into());
    job.insert("enabled".into(), (!options.disabled).into());
    job.insert("destination_conf".into(), sent.into());
    job.insert("output_options".into(), json!(output));
    if let Some(kind) = &options.kind {
        job.insert("kind".into(), kind.as_str().into());
    }
    let call = ApiCall::create(&session.scope, job.into());
    let called = session.call(&call, out).map_err(|fatal| warnings.explain(fatal))?;
    let Some(result) = called else { return Ok(warnings.write(out)?) };
    if options.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let job: Job = parse_result(result)?;
    let (id, scope) = (job.id, session.scope.as_option());
    writeln!(out, "job {id} for {dataset}: created, and Cloudflare's destination check succeeded")?;
    if job.enabled {
        writeln!(
            out,
            "The first records arrive within a few minutes. To see the state: logpushd job show {id} {scope}"
        )?;
    } else {
        writeln!(out, "The job is disabled. To enable it: logpushd job enable {id} {scope}")?;
    }
    Ok(())
}

/// Returns the names of all fields of a dataset; in a dry run, a placeholder.
fn all_fields(
    session: &Session<'_>,
    dataset: &str,
    out: &mut dyn Write,
) -> Result<Vec<String>, Fatal> {
    match session.call(&ApiCall::fields(&session.scope, dataset), out)? {
        Some(result) => {
            Ok(parse_result::<Map<String, Value>>(result)?.into_iter().map(|f| f.0).collect())
        }
        None => Ok(vec!["(all fields from the first response)".to_owned()]),
    }
}

fn update(options: &UpdateOptions, find: &FindEndpoint, out: &mut dyn Write) -> Result<(), Fatal> {
    let UpdateOptions { target, settings, .. } = options;
    let mut problems = Vec::new();
    let dataset = options.dataset.as_deref();
    let (sent, endpoint) = destination(&options.destination, dataset, find, &mut problems)?;
    let mut output = settings.output();
    problems.extend(output.problems(None));
    let mut job = job_members(settings, dataset, &mut problems)?;
    if let Some(sent) = sent {
        job.insert("destination_conf".into(), sent.into());
    }
    if job.is_empty() && output.is_empty() && !settings.all_fields && problems.is_empty() {
        problems
            .push("nothing to change: add an option, see logpushd job update --help".to_owned());
    }
    fail_if_any(&problems)?;

    let session = Session::new(&target.api)?;
    let mut known_destination = String::new();
    let changes_output = !output.is_empty() || settings.all_fields;
    if changes_output || endpoint.is_some() {
        // The API replaces output_options as a whole, and the endpoint must accept all of them.
        let current = session.call(&ApiCall::show(&session.scope, target.id), out)?;
        let current = current.map(parse_result::<Job>).transpose()?;
        let dataset = current.as_ref().map_or("(its dataset)", |job| &job.dataset);
        known_destination =
            current.as_ref().map(|job| job.destination_conf.clone()).unwrap_or_default();
        if settings.all_fields {
            output.field_names = Some(all_fields(&session, dataset, out)?);
        }
        let merged = match &current {
            Some(job) if !changes_output => job.output_options.clone(),
            _ => merged(current.as_ref(), &output)?,
        };
        if let Some(endpoint) = endpoint.filter(|_| current.is_some()) {
            fail_if_any(&endpoint::differences(
                &endpoint,
                &endpoint::comparable_output(&merged),
                false,
            ))?;
        }
        if changes_output {
            job.insert("output_options".into(), merged.into());
            if current.is_none() {
                writeln!(out, "(plus the other output_options from the first response)")?;
            }
        }
    }
    let call = ApiCall::update(&session.scope, target.id, job.into());
    let warnings = Warnings::new(None, Some(settings), &session.scope);
    let called = session
        .call_for(&call, &known_destination, out)
        .map_err(|fatal| warnings.explain(fatal))?;
    let Some(result) = called else { return Ok(warnings.write(out)?) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let id = target.id;
    writeln!(out, "job {id}: changed; Cloudflare may use the old settings for up to 15 minutes")?;
    Ok(())
}

/// Merges changed output options into those of the current job.
fn merged(current: Option<&Job>, changed: &OutputOptions) -> Result<Map<String, Value>, Fatal> {
    let mut options = current.map(|job| job.output_options.clone()).unwrap_or_default();
    if let Some(current) = current {
        fail_if_any(&changed.problems(Some(&current.dataset)))?;
        if options.is_empty()
            && !current.logpull_options.is_empty()
            && changed.field_names.is_none()
        {
            return Err(Fatal::Usage(format!(
                "job {} still uses logpull_options, which output_options would replace as a whole: add --fields",
                current.id
            )));
        }
    }
    if let Value::Object(changed) = json!(changed) {
        options.extend(changed);
    }
    Ok(options)
}

fn set_enabled(target: &JobTarget, enabled: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&target.api)?;
    let call = ApiCall::update(&session.scope, target.id, json!({ "enabled": enabled }));
    let Some(result) = session.call(&call, out)? else { return Ok(()) };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let (id, word) = (target.id, if enabled { "enabled" } else { "disabled" });
    Ok(writeln!(out, "job {id}: {word}")?)
}

fn delete(options: &DeleteOptions, out: &mut dyn Write) -> Result<(), Fatal> {
    let DeleteOptions { target, yes } = options;
    if !yes && !target.api.dry_run {
        return Err(Fatal::Usage(format!(
            "deleting job {} cannot be undone: add --yes to delete it, or use logpushd job disable",
            target.id
        )));
    }
    let session = Session::new(&target.api)?;
    let Some(result) = session.call(&ApiCall::delete(&session.scope, target.id), out)? else {
        return Ok(());
    };
    if target.api.json {
        return Ok(session.print_json(result, out)?);
    }
    Ok(writeln!(out, "job {}: deleted", target.id)?)
}

fn fields(options: &FieldsOptions, out: &mut dyn Write) -> Result<(), Fatal> {
    let session = Session::new(&options.api)?;
    let call = ApiCall::fields(&session.scope, &options.dataset);
    let warnings = Warnings::new(Some(&options.dataset), None, &session.scope);
    let called = session.call(&call, out).map_err(|fatal| warnings.explain(fatal))?;
    let Some(result) = called else { return Ok(warnings.write(out)?) };
    if options.api.json {
        return Ok(session.print_json(result, out)?);
    }
    let fields = parse_result::<Map<String, Value>>(result)?;
    let rows: Vec<_> = fields
        .iter()
        .map(|(name, text)| {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            [conf::printable(name), conf::printable(&text)]
        })
        .collect();
    Ok(table::write(out, [("FIELD", Align::Left), ("DESCRIPTION", Align::Left)], &rows)?)
}

/// The API's verdict on a destination.
#[derive(Deserialize)]
struct ValidationResult {
    #[serde(default)]
    valid: bool,
    #[serde(default)]
    message: String,
}

/// The API's answer whether a job uses a destination.
#[derive(Deserialize)]
struct ExistsResult {
    #[serde(default)]
    exists: bool,
}

fn validate(
    options: &ValidateOptions,
    find: &FindEndpoint,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    let mut problems = Vec::new();
    let dataset = options.dataset.as_deref();
    let (sent, _) = destination(&options.destination, dataset, find, &mut problems)?;
    if let Some(text) = &options.filter {
        filter(text, dataset, &mut problems)?;
    }
    if sent.is_none() && problems.is_empty() {
        problems.push(
            "the destination is missing: add --endpoint, or --destination with a URL, @FILE or -"
                .to_owned(),
        );
    }
    fail_if_any(&problems)?;
    let sent = sent.unwrap_or_default();
    let session = Session::new(&options.api)?;
    let verdict = session.call(&ApiCall::validate(&session.scope, &sent), out)?;
    let existence = session.call(&ApiCall::exists(&session.scope, &sent), out)?;
    let Some((verdict, existence)) = verdict.zip(existence) else { return Ok(()) };
    if options.api.json {
        let both = json!({ "destination": verdict, "exists": existence });
        session.print_json_for(both, &sent, out)?;
    }
    let ValidationResult { valid, message } = parse_result(verdict)?;
    if !valid {
        let message = conf::sanitize(&message, &sent);
        let advice = health::advice(&message);
        let advice = advice.map(|advice| format!("\n  {advice}")).unwrap_or_default();
        return Err(Fatal::Unavailable(format!("the destination is not valid: {message}{advice}")));
    }
    if !options.api.json {
        writeln!(out, "valid: Cloudflare's destination check succeeded")?;
        if parse_result::<ExistsResult>(existence)?.exists {
            writeln!(
                out,
                "A job of this zone or account already uses this destination, which is allowed."
            )?;
        }
    }
    Ok(())
}
