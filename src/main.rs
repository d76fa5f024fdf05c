//! The `logpushd` program. Only this file prints errors and chooses exit codes.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
};

use logpushd::{
    check,
    cli::{self, Command, ConfigFile, SpoolCommand, Validate},
    commands::{self, manual},
    config::{self, Config, Problems},
    daemon,
    fatal::Fatal,
    logging, memory,
    printable::Writer,
};

/// Exit codes, after sysexits.h.
mod exit {
    pub(super) const USAGE: u8 = 64;
    pub(super) const DATA: u8 = 65;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const BUG: u8 = 70;
    pub(super) const IO: u8 = 74;
    pub(super) const CONFIG: u8 = 78;
}

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody reads a closed standard output.
            error.print().ok();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.command {
        Command::Run(file) => run(&file),
        Command::Validate(options) => validate(&options),
        Command::Destination(options) => on_files(&options.config, |config, out| {
            commands::destination::run(config, &options, out)
        }),
        Command::Doctor(options) => to_stdout(|out| commands::doctor::run(&options, out)),
        Command::Spool(SpoolCommand::List(spool)) => {
            on_files(&spool.config, |config, out| commands::spool::list(config, spool.json, out))
        }
        Command::Spool(SpoolCommand::Verify(spool)) => {
            on_files(&spool.config, |config, out| commands::spool::verify(config, spool.json, out))
        }
        Command::Quarantine(command) => on_files(command.config(), |config, out| {
            commands::quarantine::run(config, &command, out)
        }),
        Command::Job(command) => to_stdout(|out| commands::job::run(&command, out)),
        Command::Completions(options) => {
            to_stdout_verbatim(|out| Ok(manual::write_completions(options.shell, out)?))
        }
        Command::Man(options) => to_stdout_verbatim(|out| match &options.dir {
            Some(dir) => manual::write_all(dir, out),
            None => manual::write_page(&options.page, out),
        }),
        Command::Push(push) => {
            let mut stderr = io::stderr();
            let terminal = stderr.is_terminal().then_some(&mut stderr as &mut dyn Write);
            to_stdout(|out| commands::push::run(&push, out, terminal))
        }
        Command::Cert(command) => to_stdout(|out| commands::cert::run(&command, out)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExitFailure { text, code }) => {
            if !text.is_empty() {
                writeln!(Writer::new(io::stderr()), "{text}").ok();
            }
            code.into()
        }
    }
}

/// Message and exit code of a failed command. An empty message was already reported.
struct ExitFailure {
    text: String,
    code: u8,
}

impl ExitFailure {
    fn config(text: &impl ToString) -> Self {
        Self { text: text.to_string(), code: exit::CONFIG }
    }
}

impl From<Fatal> for ExitFailure {
    fn from(fatal: Fatal) -> Self {
        let code = match &fatal {
            Fatal::Usage(_) => exit::USAGE,
            Fatal::Config(_) => exit::CONFIG,
            Fatal::Data(_) => exit::DATA,
            Fatal::Io(_) => exit::IO,
            Fatal::Unavailable(_) => exit::UNAVAILABLE,
            Fatal::Bug(_) => exit::BUG,
        };
        Self { text: format!("logpushd: {fatal}"), code }
    }
}

/// Standard output. Discards all output after the reader has closed the pipe, so that a replay
/// continues.
struct Stdout {
    open: Option<io::StdoutLock<'static>>,
}

impl Stdout {
    /// Runs an operation, or returns `discarded` if nobody reads the output.
    fn run<T>(
        &mut self,
        discarded: T,
        operation: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(stdout) = &mut self.open else { return Ok(discarded) };
        match operation(stdout) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.open = None;
                Ok(discarded)
            }
            outcome => outcome.map_err(|error| {
                io::Error::new(error.kind(), format!("writing to standard output: {error}"))
            }),
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(bytes.len(), |stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run((), Write::flush)
    }
}

fn run(file: &ConfigFile) -> Result<(), ExitFailure> {
    let document =
        config::read(&file.path).map_err(|problems| ExitFailure::config(&for_stderr(&problems)))?;
    let config::Log { format, level, .. } = document.config.log;
    memory::limit_arenas();
    let log = logging::init(format, level)
        .map_err(|error| ExitFailure { text: format!("logpushd: {error}"), code: exit::BUG })?;
    check::log_warnings(&document);
    let outcome = daemon::run(document, &file.path, &log).map_err(ExitFailure::from);
    log.finish(outcome.as_ref().err().map(|failure| &*failure.text));
    // The log has written the error. A second write to a blocked standard error could hang.
    outcome.map_err(|failure| ExitFailure { text: String::new(), ..failure })
}

/// Runs a command that reads the configuration.
fn on_files(
    file: &ConfigFile,
    command: impl FnOnce(&Config, &mut dyn Write) -> Result<(), Fatal>,
) -> Result<(), ExitFailure> {
    let config = config::load(&file.path).map_err(|problems| ExitFailure::config(&problems))?;
    to_stdout(|out| command(&config, out))
}

/// Runs a command whose output can contain received text: control characters are escaped.
fn to_stdout(command: impl FnOnce(&mut dyn Write) -> Result<(), Fatal>) -> Result<(), ExitFailure> {
    command(&mut Writer::new(Stdout { open: Some(io::stdout().lock()) }))?;
    Ok(())
}

/// Runs a command whose output contains no received text, and writes it unchanged.
fn to_stdout_verbatim(
    command: impl FnOnce(&mut dyn Write) -> Result<(), Fatal>,
) -> Result<(), ExitFailure> {
    command(&mut Stdout { open: Some(io::stdout().lock()) })?;
    Ok(())
}

fn validate(options: &Validate) -> Result<(), ExitFailure> {
    use commands::validate::{check, service_user, summarize, write_json};

    let document = match config::read(options.path()) {
        Ok(document) => document,
        Err(problems) => return Err(invalid(options, &problems)?),
    };
    let user = service_user(options.user.as_deref(), options.path())?;
    let user = user.as_ref();
    let found = check(&document, user, options.strict);
    if !found.is_valid {
        return Err(invalid(options, &found.problems)?);
    }
    if options.json {
        return to_stdout(|out| Ok(write_json(Some(&document), user, &found.problems, out)?));
    }
    if !found.problems.is_empty() {
        let end = if logging::stderr_is_the_journal() { "" } else { "\n" };
        writeln!(Writer::new(io::stderr()), "{}{end}", for_stderr(&found.problems)).ok();
    }
    to_stdout(|out| {
        summarize(&document, user, &found.problems, out)?;
        if options.probe { commands::probe::run(&document.config, out) } else { Ok(()) }
    })
}

/// Formats problems for a terminal, or for the journal if standard error is connected to it.
fn for_stderr(problems: &Problems) -> String {
    if logging::stderr_is_the_journal() { problems.for_journal() } else { problems.to_string() }
}

/// Returns the failure for an invalid configuration. With `--json`, prints the problems first.
fn invalid(options: &Validate, problems: &Problems) -> Result<ExitFailure, ExitFailure> {
    let failure = ExitFailure::config(&for_stderr(problems));
    if !options.json {
        return Ok(failure);
    }
    to_stdout(|out| Ok(commands::validate::write_json(None, None, problems, out)?))?;
    Ok(ExitFailure { text: String::new(), ..failure })
}
