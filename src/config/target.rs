//! Where a sink delivers to, in words for the log and for `logpushd validate`.

use super::SinkKind;

impl SinkKind {
    /// KIND in `[sink.NAME.KIND]`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout(_) => "stdout",
            Self::Syslog(_) => "syslog",
        }
    }

    /// The whole path, or the addresses.
    pub fn target(&self) -> String {
        match self {
            Self::File(file) => file.path.clone(),
            Self::Stdout(_) => "standard output".to_owned(),
            Self::Syslog(syslog) => {
                let targets: Vec<_> = syslog.targets.iter().map(ToString::to_string).collect();
                targets.join(", ")
            }
        }
    }
}
