//! One table with every sort of key, as a program would declare it.

use std::{path::Path, time::Duration};

use crate::{
    Context, Problems, Settings as _, Table,
    reference::{Takes, Without},
    settings,
    types::{Count, FieldName, Flag, Names, OneOrMore, PositiveSpan, Size, Span},
    words,
};

settings! {
    /// Where what waits
    /// is kept.
    struct Queue in "queue" derive(Eq), checked by check {
        /// Its name.
        name: FieldName as "main",
        /// The most that waits.
        max_bytes: Size<1024, { 1 << 20 }> = "64KiB",
        /// How many may wait.
        max_entries: Option<Count> as 10 else "as many as come",
        /// Whether it is
        /// kept on disk.
        durable: Flag = true,
        /// Who may ask.
        readers "from": Names<FieldName> as ["a", "b"] else "everybody",
        /// Who is told.
        watchers: OneOrMore<FieldName> as "a" else "nobody",
        /// What goes first.
        order: Order = "old",
        /// When it is emptied.
        retain: Retain,
        /// Another one.
        spare: Option<Spare>,
    }
}

settings! {
    /// Whichever comes first.
    struct Retain derive(Copy, Eq) {
        /// After so long.
        age: PositiveSpan = "30s",
        /// After a pause.
        pause: Option<Span> as "1h" else "never",
    }
}

settings! {
    /// For emergencies.
    struct Spare in ".spare" derive(Eq) {
        /// Where it is.
        place: FieldName as "cellar",
    }
}

words! {
    /// What goes first.
    enum Order {
        /// What came first.
        Old = "old",
        /// What came last.
        New = "new",
    }
}

fn check(queue: &Queue, table: &Table<'_>, cx: &mut Context) {
    if table.is_sound("name") && queue.name == "main" && queue.order == Order::New {
        cx.push(table.problem_at("order", "main is old"));
    }
    if table.contains("max_entries") && !queue.durable {
        cx.push(table.problem_at("max_entries", "memory has no bound"));
    }
}

fn read(text: &'static str) -> Result<Queue, String> {
    let mut cx = Context::of_text(Path::new("/"));
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
fn what_is_not_there_is_the_default() {
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
fn what_is_there_is_read() {
    let queue = read(
        "[queue]\nname = \"x\"\nmax_bytes = 1024\nmax_entries = 3\ndurable = true\n\
         from = [\"r\"]\nwatchers = [\"v\", \"w\"]\norder = \"new\"\nretain = { pause = \"0s\" }\n\
         [queue.spare]\nplace = \"attic\"\n",
    );
    let queue = queue.unwrap();
    assert_eq!((queue.max_bytes, queue.max_entries, queue.order), (1024, Some(3), Order::New));
    assert_eq!(queue.readers[0].get_ref(), "r");
    assert_eq!(queue.watchers.len(), 2);
    assert_eq!(queue.retain.pause, Some(Duration::ZERO));
    assert_eq!(queue.spare, Some(Spare { place: "attic".into() }));
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
        "q:3:15: memory has no bound",
        "q:5:8: `queue.from` is an empty list",
        "help: name at least one, as [\"a\", \"b\"], or leave it out: everybody",
        "q:6:13: expected only strings for `queue.watchers`, found an integer",
        "help: the values are \"old\", \"new\"",
        "q:8:18: `queue.retain.age` must be more than 0",
        "help: write how long, as \"30s\"",
        "unknown key `paus` in `queue.retain`",
        "help: did you mean `pause`?",
        "q:9:1: `queue.spare.place` is missing",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in\n{problems}");
    }
    assert_eq!(problems.matches("\n\n").count() + 1, 9, "{problems}");
    // What is missing may be what was misspelled; and no check takes the example for a value.
    let problems = read("[queue]\nnane = \"x\"\norder = \"new\"\n").unwrap_err();
    assert!(problems.contains("did you mean `name`?"), "{problems}");
    assert!(!problems.contains("missing") && !problems.contains("main is old"), "{problems}");
}

#[test]
fn the_reference_is_the_declaration() {
    let chapters = Queue::TABLE.chapters();
    let names: Vec<_> = chapters.iter().map(|chapter| chapter.name.as_str()).collect();
    assert_eq!(names, ["queue", "queue.spare"]);
    assert_eq!(chapters[0].text, "Where what waits is kept.");
    assert_eq!(chapters[1].text, "Another one. For emergencies.");
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
        keys.iter().map(|(_, key)| format!("{}; {}", key.takes, key.without)).collect();
    assert_eq!(shown[0], "name of a field; required; for example `\"main\"`");
    assert_eq!(shown[1], "size from 1 KiB to 1 MiB; default `\"64KiB\"`");
    assert_eq!(shown[2], "whole number from 1 on; without it: as many as come; for example `10`");
    assert_eq!(
        shown[4],
        "list of name of a field; without it: everybody; for example `[\"a\", \"b\"]`"
    );
    assert_eq!(shown[6], "`\"old\"` or `\"new\"`; default `\"old\"`");
    assert_eq!(shown[7], "duration of more than 0; default `\"30s\"`");
    assert_eq!(keys[3].1.text(), "Whether it is kept on disk.");
    assert_eq!(Queue::TABLE.required().count(), 1);
    let wrong = crate::reference::Key { without: Without::Default("\"2MiB\""), ..*keys[1].1 };
    assert!(wrong.check().unwrap_err().contains("must be between"), "{:?}", wrong.check());
    assert_eq!(keys[1].1.takes, Takes::Size { least: 1024, most: 1 << 20 });
}

settings! {
    /// What every sender has.
    struct Common derive(Eq) {
        /// How long it waits.
        timeout: PositiveSpan = "60s",
        /// Whom it calls.
        called: FieldName as "server",
        /// How it stops.
        stop: Stop,
        /// Another one.
        spare: Option<Spare>,
    }
}

settings! {
    /// Whichever comes first.
    struct Stop derive(Copy, Eq) {
        /// After so long.
        age: PositiveSpan = "30s",
    }
}

settings! {
    /// Sends.
    struct Sender in "sender" derive(Eq) {
        /// Its name.
        name: FieldName as "main",
        /// What every sender has.
        common "": Common,
    }
}

fn sender(text: &'static str) -> (Option<Sender>, String) {
    let mut cx = Context::of_text(Path::new("/"));
    let (mut root, _, _) = crate::parse(text);
    let sender = Sender::take_from(&mut root, &mut cx);
    (sender, Problems::new("s", text, cx.finish(text, Vec::new())).to_string())
}

#[test]
fn tables_share_keys() {
    let text = "[sender]\nname = \"a\"\ncalled = \"b\"\ntimeout = \"1s\"\nstop = { age = \"2s\" }\n\
                [sender.spare]\nplace = \"attic\"\n";
    let (read, problems) = sender(text);
    let read = read.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!((read.name.as_str(), read.common.called.as_str()), ("a", "b"));
    assert_eq!(read.common.timeout, Duration::from_secs(1));
    assert_eq!(read.common.stop.age, Duration::from_secs(2));
    assert_eq!(read.common.spare, Some(Spare { place: "attic".into() }));

    // What is missing in either part is reported, and there is no table then.
    for (text, expected) in [
        ("[sender]\ncalled = \"b\"\n", "`sender.name` is missing"),
        ("[sender]\nname = \"a\"\n", "`sender.called` is missing"),
        ("[sender]\nname = \"a\"\ncalled = \"b\"\ntimeot = \"1s\"\n", "did you mean `timeout`?"),
    ] {
        let (read, problems) = sender(text);
        assert!(problems.contains(expected), "{problems}");
        assert_eq!(read.is_none(), expected.contains("missing"), "{text}");
    }

    let chapters: Vec<_> = Sender::TABLE.chapters();
    let names: Vec<_> = chapters.iter().map(|chapter| chapter.name.as_str()).collect();
    assert_eq!(names, ["sender", "sender.spare"]);
    assert_eq!(chapters[1].text, "Another one. For emergencies.");
    let keys = Sender::TABLE.keys();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["name", "timeout", "called", "stop.age"]);
    let required: Vec<_> = Sender::TABLE.required().map(|key| key.name).collect();
    assert_eq!(required, ["name", "called"]);
}
