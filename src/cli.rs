//! What people type.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Where the configuration is if nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/logpushd/logpushd.toml";

const AFTER: &str = "\
A first try, in a clone of the project: logpushd run -c config/quickstart.toml
SIGTERM and SIGINT stop in order, SIGHUP takes over certificates, secrets and the log level.
Exit codes: 0 stopped, 64 usage, 69 an address is unavailable, 70 a defect, 74 I/O, 78 configuration.";

/// Receives Cloudflare Logpush over HTTPS: commits each batch to disk before it answers 200, then
/// hands the records to files and pipes.
#[derive(Debug, Parser)]
#[command(name = "logpushd", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Run(ConfigFile),
    /// Check the configuration and the files that it names, and print every problem
    Validate(ConfigFile),
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_has_a_default_place() {
        let cli = Cli::try_parse_from(["logpushd", "run"]).unwrap();
        let Command::Run(config) = cli.command else { panic!("not run") };
        assert_eq!(config.path, PathBuf::from(DEFAULT_CONFIG));
        let cli = Cli::try_parse_from(["logpushd", "validate", "-c", "x.toml"]).unwrap();
        let Command::Validate(config) = cli.command else { panic!("not validate") };
        assert_eq!(config.path, PathBuf::from("x.toml"));
    }
}
