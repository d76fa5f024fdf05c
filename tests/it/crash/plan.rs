//! Chooses where and when the daemon is killed next.

use crate::support::Random;

/// One run of the daemon.
#[derive(Debug)]
pub(super) struct Plan {
    /// The faults that it starts with.
    pub(super) faults: String,
    pub(super) ending: Ending,
}

/// How it ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// Killed after so many answers and some time.
    Kill { answers: u64, pause_ms: u64 },
    /// Kills itself at a fault.
    Fault,
    /// Stopped, and killed during shutdown.
    Drain { answers: u64, faults: String, pause_ms: u64 },
}

/// A file operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    Around { moment: &'static str, step: &'static str, path: &'static str },
    Torn { path: &'static str },
}

const BATCHES: &str = "/batches";
const CURSORS: &str = "/cursors";
const DEDUP: &str = "/dedup";
const OUT: &str = "/out/";
const QUARANTINE: &str = "/quarantine/";

const STEPS: [(&str, &[&str]); 5] = [
    (BATCHES, &["open", "write", "sync", "rename", "syncdir", "remove"]),
    (CURSORS, &["open", "write", "sync", "rename", "syncdir"]),
    (DEDUP, &["open", "write", "sync", "syncdir"]),
    (OUT, &["open", "write", "sync", "rename", "syncdir", "remove"]),
    (QUARANTINE, &["open", "write", "sync"]),
];

/// All file operations, in any order.
pub(super) fn shuffled_points(random: &mut Random) -> Vec<Point> {
    let mut points = Vec::new();
    for (path, steps) in STEPS {
        for moment in ["before", "after"] {
            points.extend(steps.iter().map(|step| Point::Around { moment, step, path }));
        }
        points.push(Point::Torn { path });
    }
    for place in (1..points.len()).rev() {
        let other = usize::try_from(random.below(place as u64 + 1)).unwrap();
        points.swap(place, other);
    }
    points
}

impl Point {
    /// In the form that the daemon reads.
    pub(super) fn line(self, random: &mut Random) -> String {
        match self {
            Self::Around { moment, step, path } => {
                let count = 1 + random.below(if often(step, path) { 12 } else { 2 });
                format!("kill {moment} {step} {path} {count}\n")
            }
            Self::Torn { path } => {
                let count = 1 + random.below(if often("write", path) { 8 } else { 2 });
                format!("tear {path} {count}\n")
            }
        }
    }
}

/// Whether it happens with every batch, rather than once a second or once a run.
fn often(step: &str, path: &str) -> bool {
    match path {
        BATCHES => step != "remove",
        OUT => step == "write",
        _ => false,
    }
}

/// Operations that happen soon after a start.
pub(super) fn early(random: &mut Random) -> String {
    let moment = ["before", "after"][usize::try_from(random.below(2)).unwrap()];
    let steps = [
        ("remove", BATCHES),
        ("open", CURSORS),
        ("rename", CURSORS),
        ("syncdir", CURSORS),
        ("open", DEDUP),
        ("write", DEDUP),
        ("sync", DEDUP),
        ("open", OUT),
        ("write", OUT),
        ("rename", OUT),
        ("remove", OUT),
        ("syncdir", "*"),
        ("write", "*"),
        ("open", "*"),
    ];
    let (step, path) = steps[usize::try_from(random.below(steps.len() as u64)).unwrap()];
    format!("kill {moment} {step} {path} {}\n", 1 + random.below(2))
}

/// An operation during shutdown, if there is one.
pub(super) fn while_draining(random: &mut Random) -> String {
    match random.below(3) {
        0 => String::new(),
        1 => format!("tear {CURSORS} {}\n", 1 + random.below(2)),
        _ => early(random),
    }
}
