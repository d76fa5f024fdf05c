//! Metrics of the process, by the names that the client libraries of Prometheus use.

use std::{fs, io, path::Path, slice, sync::PoisonError};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::{
    Arrival, Metrics,
    exposition::{Exposition, Family, MetricKind, Series, Value},
};

/// The resource usage of the process. Unknown values are `None`, and are not exposed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Process {
    /// CPU time in microseconds, user and system.
    pub cpu_micros: u64,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// Number of threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit of open file descriptors.
    pub max_fds: Option<u64>,
}

impl Process {
    /// Reads the usage. This reads files below `/proc` and may block.
    pub fn read() -> Self {
        Self::read_from(Path::new("/proc/self"))
    }

    fn read_from(dir: &Path) -> Self {
        let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value?.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let kibibytes = |name| field(name).map(|count| count.saturating_mul(1024));
        let max_fds = getrlimit(Resource::Nofile).current;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = i128::from(cpu.tv_sec) * 1_000_000 + i128::from(cpu.tv_nsec) / 1_000;
        Self {
            cpu_micros: u64::try_from(cpu).unwrap_or(0),
            resident_bytes: kibibytes("VmRSS"),
            virtual_bytes: kibibytes("VmSize"),
            threads: field("Threads"),
            open_fds: match fs::read_dir(dir.join("fd")) {
                // One of them is the descriptor of the directory.
                Ok(open) => Some((open.count() as u64).saturating_sub(1)),
                // The directory cannot be read when all descriptors are in use.
                Err(error) if is_out_of_descriptors(&error) => max_fds,
                Err(_) => None,
            },
            max_fds,
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MFILE)
}

impl Metrics {
    /// Sets the resource usage of the process.
    pub fn process(&self, process: Process) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    pub(super) fn render_process(&self, text: &mut Exposition, now: Arrival) {
        text.families(&START, &[self]);
        let process = *self.process.lock().unwrap_or_else(PoisonError::into_inner);
        for family in &FAMILIES {
            if let Some(process) = &process
                && (family.value)(process, now).is_some()
            {
                text.families(slice::from_ref(family), &[process]);
            }
        }
    }
}

impl Series for Process {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

const START: [Family<Metrics>; 1] = [Family {
    name: "process_start_time_seconds",
    kind: MetricKind::Gauge,
    help: "Time at which the process started.",
    value: |metrics, now| Some(Value::Micros(metrics.started.wall_micros_at(now))),
}];

const FAMILIES: [Family<Process>; 6] = [
    Family {
        name: "process_cpu_seconds_total",
        kind: MetricKind::Counter,
        help: "CPU time of the process, user and system.",
        value: |process, _| Some(Value::Micros(process.cpu_micros)),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: MetricKind::Gauge,
        help: "Resident memory.",
        value: |process, _| process.resident_bytes.map(Value::Whole),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: MetricKind::Gauge,
        help: "Virtual memory.",
        value: |process, _| process.virtual_bytes.map(Value::Whole),
    },
    Family {
        name: "process_threads",
        kind: MetricKind::Gauge,
        help: "Threads of the process.",
        value: |process, _| process.threads.map(Value::Whole),
    },
    Family {
        name: "process_open_fds",
        kind: MetricKind::Gauge,
        help: "Open file descriptors.",
        value: |process, _| process.open_fds.map(Value::Whole),
    },
    Family {
        name: "process_max_fds",
        kind: MetricKind::Gauge,
        help: "Maximum number of open file descriptors.",
        value: |process, _| process.max_fds.map(Value::Whole),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_the_system() {
        let file = fs::File::open("/dev/null").unwrap();
        let before = Process::read();
        let more: Vec<_> = (0..200).map(|_| file.try_clone().unwrap()).collect();
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 1 << 20, "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.threads.unwrap() >= 1, "{process:?}");
        // Other tests open and close files as well, but not that many.
        let opened = process.open_fds.unwrap().saturating_sub(before.open_fds.unwrap());
        assert!(opened > 100, "{before:?} {process:?}");
        assert!(process.max_fds.unwrap() >= process.open_fds.unwrap(), "{process:?}");
        assert!(process.cpu_micros > 0, "{process:?}");
        drop(more);
    }

    #[test]
    fn without_proc_the_other_values_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::read_from(dir.path());
        assert_eq!((process.resident_bytes, process.virtual_bytes), (None, None));
        assert_eq!((process.threads, process.open_fds), (None, None));
        assert!(process.max_fds.is_some() && process.cpu_micros > 0);
        fs::write(dir.path().join("status"), "Name:\tx\nVmRSS:\t    7 kB\nThreads:\tmany\n")
            .unwrap();
        let process = Process::read_from(dir.path());
        assert_eq!((process.resident_bytes, process.threads), (Some(7 * 1024), None));
    }

    #[test]
    fn the_error_for_no_free_descriptor_is_recognized() {
        assert!(is_out_of_descriptors(&io::Error::from(Errno::MFILE)));
        assert!(!is_out_of_descriptors(&io::Error::from(Errno::NOENT)));
    }
}
