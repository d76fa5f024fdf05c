//! Tests with a table that has a key of each type.

use std::{path::Path, time::Duration};

use crate::{
    Context, Problems, Settings as _, Table,
    reference::{Presence, Takes},
    settings,
    types::{Count, FieldName, Flag, Names, OneOrMore, PositiveSpan, Size, Span},
    words,
};

settings! {
    /// The queue of
    /// unsent entries.
    struct Queue in "queue" derive(Eq), checked by check {
        /// The name.
        name: FieldName as "main",
        /// The maximum size.
        max_bytes: Size<1024, { 1 << 20 }> = "64KiB",
        /// The maximum number of entries.
        max_entries: Option<Count> as 10 else "no limit",
        /// Whether entries are
        /// stored on disk.
        durable: Flag = true,
        /// The users that may read it.
        readers "from": Names<FieldName> as ["a", "b"] else "all users",
        /// The users to notify.
        watchers: OneOrMore<FieldName> as "a" else "no user",
        /// The entry to send first.
        order: Order = "old",
        /// When to delete entries.
        retain: Retain,
        /// A second queue.
        spare: Option<Spare>,
    }
}

settings! {
    /// The first limit applies.
    struct Retain derive(Copy, Eq) {
        /// The age of an entry.
        age: PositiveSpan = "30s",
        /// The time without new entries.
        pause: Option<Span> as "1h" else "never",
    }
}

settings! {
    /// For emergencies.
    struct Spare in ".spare" derive(Eq) {
        /// Its directory.
        dir: FieldName as "cellar",
    }
}

words! {
    /// The entry to send first.
    enum Order {
        /// The oldest.
        Old = "old",
        /// The newest.
        New = "new",
    }
}

fn check(queue: &Queue, table: &Table<'_>, cx: &mut Context) {
    if table.is_valid("name") && queue.name == "main" && queue.order == Order::New {
        cx.push(table.problem_at("order", "main is old"));
    }
    if table.contains("max_entries") && !queue.durable {
        cx.push(table.problem_at("max_entries", "memory is not limited"));
    }
}

fn read(text: &'static str) -> Result<Queue, String> {
    let mut cx = Context::without_files(Path::new("/"));
    let (mut root, _, syntax) = crate::parse(text);
    assert!(syntax.is_empty());
    let queue = Queue::take_from(&mut root, &mut cx);
    root.finish(&mut cx);
    match queue {
        Some(queue) if cx.is_clean() => Ok(queue),
        _ => Err(Problems::new("q", text, cx.finish(text, syntax)).to_string()),
    }
}

#[test]
fn missing_keys_have_their_defaults() {
    let queue = read("[queue]\nname = \"x\"").unwrap();
    assert_eq!(queue.name, "x");
    assert_eq!((queue.max_bytes, queue.max_entries, queue.durable), (64 << 10, None, true));
    assert!(queue.readers.is_empty() && queue.watchers.is_empty());
    assert_eq!((queue.order, queue.spare), (Order::Old, None));
    let retain = Retain { age: Duration::from_secs(30), pause: None };
    assert_eq!(queue.retain, retain);
    let sample = Queue::sample().unwrap();
    assert_eq!((sample.name.as_str(), sample.retain), ("main", retain));
}

#[test]
fn all_keys_are_read() {
    let queue = read(
        "[queue]\nname = \"x\"\nmax_bytes = 1024\nmax_entries = 3\ndurable = true\n\
         from = [\"r\"]\nwatchers = [\"v\", \"w\"]\norder = \"new\"\nretain = { pause = \"0s\" }\n\
         [queue.spare]\ndir = \"attic\"\n",
    );
    let queue = queue.unwrap();
    assert_eq!((queue.max_bytes, queue.max_entries, queue.order), (1024, Some(3), Order::New));
    assert_eq!(queue.readers[0].get_ref(), "r");
    assert_eq!(queue.watchers.len(), 2);
    assert_eq!(queue.retain.pause, Some(Duration::ZERO));
    assert_eq!(queue.spare, Some(Spare { dir: "attic".into() }));
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = read(
        "[queue]\nmax_bytes = \"1B\"\nmax_entries = 3\ndurable = false\nfrom = []\n\
         watchers = [1]\norder = \"first\"\nretain = { age = \"0s\", paus = \"1s\" }\n\
         [queue.spare]\n",
    );
    let problems = problems.unwrap_err();
    for expected in [
        "q:1:1: `queue.name` is missing\n  [queue]\n  ^^^^^^^\n  = help: add `name = \"main\"`",
        "q:2:13: `queue.max_bytes` must be between 1 KiB and 1 MiB",
        "q:3:15: memory is not limited",
        "q:5:8: `queue.from` is an empty list",
        "help: list at least one item, such as [\"a\", \"b\"], or remove the key: all users",
        "q:6:13: expected only strings for `queue.watchers`, found an integer",
        "help: valid values are \"old\", \"new\"",
        "q:8:18: `queue.retain.age` must be greater than 0",
        "help: write a duration such as \"30s\"",
        "unknown key `paus` in `queue.retain`",
        "help: did you mean `pause`?",
        "q:9:1: `queue.spare.dir` is missing",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in\n{problems}");
    }
    assert_eq!(problems.matches("\n\n").count() + 1, 9, "{problems}");
    // A misspelled key is not reported as missing as well, and its example is not checked.
    let problems = read("[queue]\nnane = \"x\"\norder = \"new\"\n").unwrap_err();
    assert!(problems.contains("did you mean `name`?"), "{problems}");
    assert!(!problems.contains("missing") && !problems.contains("main is old"), "{problems}");
}

#[test]
fn the_reference_is_generated_from_the_declaration() {
    let chapters = Queue::TABLE.chapters();
    let names: Vec<_> = chapters.iter().map(|chapter| chapter.name.as_str()).collect();
    assert_eq!(names, ["queue", "queue.spare"]);
    assert_eq!(chapters[0].text, "The queue of unsent entries.");
    assert_eq!(chapters[1].text, "A second queue. For emergencies.");
    let keys = Queue::TABLE.keys();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "name",
            "max_bytes",
            "max_entries",
            "durable",
            "from",
            "watchers",
            "order",
            "retain.age",
            "retain.pause"
        ]
    );
    for (_, key) in &keys {
        key.check().unwrap();
    }
    let shown: Vec<_> =
        keys.iter().map(|(_, key)| format!("{}; {}", key.takes, key.presence)).collect();
    assert_eq!(shown[0], "name of a field; required; for example `\"main\"`");
    assert_eq!(shown[1], "size from 1 KiB to 1 MiB; default `\"64KiB\"`");
    assert_eq!(shown[2], "whole number of at least 1; without it: no limit; for example `10`");
    assert_eq!(
        shown[4],
        "list of name of a field; without it: all users; for example `[\"a\", \"b\"]`"
    );
    assert_eq!(shown[6], "`\"old\"` or `\"new\"`; default `\"old\"`");
    assert_eq!(shown[7], "duration greater than 0; default `\"30s\"`");
    assert_eq!(keys[3].1.text(), "Whether entries are stored on disk.");
    assert_eq!(Queue::TABLE.required().count(), 1);
    let wrong = crate::reference::Key { presence: Presence::Default("\"2MiB\""), ..*keys[1].1 };
    assert!(wrong.check().unwrap_err().contains("must be between"), "{:?}", wrong.check());
    assert_eq!(keys[1].1.takes, Takes::Size { least: 1024, most: 1 << 20 });
}

settings! {
    /// The keys of every sender.
    struct Common derive(Eq) {
        /// The deadline of a request.
        timeout: PositiveSpan = "60s",
        /// The server.
        server: FieldName as "localhost",
        /// When to stop.
        stop: Stop,
        /// A second queue.
        spare: Option<Spare>,
    }
}

settings! {
    /// The first limit applies.
    struct Stop derive(Copy, Eq) {
        /// The age of an entry.
        age: PositiveSpan = "30s",
    }
}

settings! {
    /// A sender.
    struct Sender in "sender" derive(Eq) {
        /// The name.
        name: FieldName as "main",
        /// The keys of every sender.
        common "": Common,
    }
}

fn sender(text: &'static str) -> (Option<Sender>, String) {
    let mut cx = Context::without_files(Path::new("/"));
    let (mut root, _, _) = crate::parse(text);
    let sender = Sender::take_from(&mut root, &mut cx);
    (sender, Problems::new("s", text, cx.finish(text, Vec::new())).to_string())
}

#[test]
fn tables_share_keys() {
    let text = "[sender]\nname = \"a\"\nserver = \"b\"\ntimeout = \"1s\"\nstop = { age = \"2s\" }\n\
                [sender.spare]\ndir = \"attic\"\n";
    let (read, problems) = sender(text);
    let read = read.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!((read.name.as_str(), read.common.server.as_str()), ("a", "b"));
    assert_eq!(read.common.timeout, Duration::from_secs(1));
    assert_eq!(read.common.stop.age, Duration::from_secs(2));
    assert_eq!(read.common.spare, Some(Spare { dir: "attic".into() }));

    // A missing key of either declaration is reported, and the table cannot be read.
    for (text, expected) in [
        ("[sender]\nserver = \"b\"\n", "`sender.name` is missing"),
        ("[sender]\nname = \"a\"\n", "`sender.server` is missing"),
        ("[sender]\nname = \"a\"\nserver = \"b\"\ntimeot = \"1s\"\n", "did you mean `timeout`?"),
    ] {
        let (read, problems) = sender(text);
        assert!(problems.contains(expected), "{problems}");
        assert_eq!(read.is_none(), expected.contains("missing"), "{text}");
    }

    let chapters: Vec<_> = Sender::TABLE.chapters();
    let names: Vec<_> = chapters.iter().map(|chapter| chapter.name.as_str()).collect();
    assert_eq!(names, ["sender", "sender.spare"]);
    assert_eq!(chapters[1].text, "A second queue. For emergencies.");
    let keys = Sender::TABLE.keys();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["name", "timeout", "server", "stop.age"]);
    let required: Vec<_> = Sender::TABLE.required().map(|key| key.name).collect();
    assert_eq!(required, ["name", "server"]);
}
