use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn plain(pattern: &str) -> WrittenPaths<'_> {
    WrittenPaths { key: "path", pattern, rotates: false, compressed: None }
}

fn files(pattern: &str) -> SinkFiles {
    files_of(plain(pattern), &[])
}

fn files_of(paths: WrittenPaths<'_>, datasets: &[String]) -> SinkFiles {
    let endpoints = ["main".to_owned(), "Other-1".to_owned()];
    SinkFiles::of(paths, datasets, &endpoints, &lexical).unwrap()
}

fn common(one: &SinkFiles, other: &SinkFiles) -> Option<String> {
    let (path, turned) = (one.common(other), other.common(one));
    assert_eq!(path.is_some(), turned.is_some());
    path.map(|path| path.to_str().unwrap().to_owned())
}

#[test]
fn common_files_of_two_paths_are_found() {
    let cases = [
        ("/o/a", "/o/a", true),
        ("/o/a", "/o/b", false),
        ("/o/a", "/o/./x/..//a", true),
        ("/o/{dataset}/%F", "/o/http_requests/%F", true),
        ("/o/{dataset}/%F", "/o/http-requests/%F", false),
        ("/o/{dataset}/%F", "/o/{dataset}/%Y-%m-%d", true),
        ("/o/{dataset}/%F", "/o/{dataset}/%Y%m%d", false),
        ("/o/{dataset}.ndjson", "/o/{dataset}.json", false),
        ("/o/{dataset}.ndjson", "/o/{endpoint}.ndjson", true),
        ("/o/{endpoint}.ndjson", "/o/main.ndjson", true),
        ("/o/{endpoint}.ndjson", "/o/third.ndjson", false),
        ("/o/{endpoint}/{dataset}", "/o/{dataset}/{endpoint}", true),
        ("/o/{dataset}_a", "/o/b_{dataset}", true),
        ("/o/%Y-%m.ndjson", "/o/2026-11.ndjson", true),
        ("/o/%Y-%m.ndjson", "/o/2026-13.ndjson", false),
        ("/o/%A.ndjson", "/o/archive.ndjson", false),
        ("/o/%A.ndjson", "/o/Tuesday.ndjson", true),
        ("/o/%s", "/o/1700000000", true),
        ("/o/%H%M", "/o/2460", false),
        ("/o/%H%M", "/o/{dataset}", true),
        ("/o/é{dataset}", "/o/éx", true),
        ("/o/{dataset}", "/p/{dataset}", false),
        ("/o/{dataset}", "/o/{dataset}/x", false),
    ];
    for (one, other, want) in cases {
        let found = common(&files(one), &files(other));
        assert_eq!(found.is_some(), want, "{one} {other} {found:?}");
    }
    let path = common(&files("/o/{dataset}/x.ndjson"), &files("/o/http_requests/x.ndjson"));
    assert_eq!(path.as_deref(), Some("/o/http_requests/x.ndjson"));
}

#[test]
fn a_file_where_another_sink_needs_a_directory_is_found() {
    let cases = [
        ("/o/a", "/o/a/%F", Some("/o/a")),
        ("/o/a", "/o/a/b/{dataset}/%F", Some("/o/a")),
        ("/o/a", "/o/{dataset}/%F", Some("/o/a")),
        ("/o/{dataset}", "/o/http_requests/%F", Some("/o/http_requests")),
        ("/o/%Y", "/o/2026/{dataset}", Some("/o/2026")),
        ("/o/a", "/o/a.d/%F", None),
        ("/o/a", "/o/ab/%F", None),
        ("/o/a", "/o/a", None),
        ("/o/a/%F", "/o/a", None),
        ("/o/{dataset}.ndjson", "/o/{dataset}/%F", None),
        ("/o/{dataset}", "/o/Archive/%F", None),
    ];
    for (one, other, want) in cases {
        let found = files(one).in_the_way_of(&files(other));
        assert_eq!(found.as_deref(), want.map(Path::new), "{one} {other}");
    }
}

#[test]
fn sinks_for_other_datasets_write_other_files() {
    let only = |dataset: &str| files_of(plain("/o/{dataset}.ndjson"), &[dataset.to_owned()]);
    assert_eq!(common(&only("dns_logs"), &only("http_requests")), None);
    assert!(common(&only("dns_logs"), &files("/o/{dataset}.ndjson")).is_some());
    assert_eq!(common(&only("dns_logs"), &files("/o/http_requests.ndjson")), None);
}

#[test]
fn a_file_that_another_sink_finished_counts() {
    let of = |pattern: &str, compressed| {
        files_of(WrittenPaths { rotates: true, compressed, ..plain(pattern) }, &[])
    };
    let rotated = of("/o/a.b.ndjson", Some("gz"));
    for (other, want) in [
        ("/o/a.b.ndjson.20261121T230000Z", true),
        ("/o/a.b.ndjson.20261121T230000Z_002", true),
        ("/o/a.b.ndjson.20261121T230000Z_2", false),
        ("/o/a.b.ndjson.%Y%m%dT%H%M%SZ.gz", true),
        ("/o/a.b.ndjson.%Y%m%dT%H%M%SZ_002.gz.tmp", true),
        ("/o/a.b.ndjson.%Y%m%dT%H%M%SZ.zst", false),
        ("/o/a.b.ndjson.%F", false),
        ("/o/a.b.ndjson.gz", false),
        ("/o/{dataset}.ndjson", false),
    ] {
        assert_eq!(common(&rotated, &files(other)).is_some(), want, "{other}");
    }
    let without =
        |pattern: &str| files_of(WrittenPaths { compressed: Some("gz"), ..plain(pattern) }, &[]);
    for (other, want) in [
        ("/o/2026-11-21.ndjson.gz", true),
        ("/o/2026-11-21.ndjson.gz.tmp", true),
        ("/o/2026-11-21.ndjson.20261121T230000Z.gz", true),
        ("/o/2026-11-21.ndjson.20261121T230000Z", false),
        ("/o/2026-11-21.ndjson.zst", false),
    ] {
        assert_eq!(common(&without("/o/%F.ndjson"), &files(other)).is_some(), want, "{other}");
    }
    // As rotation itself names them.
    let dataset = of("/o.d/.{dataset}", None);
    assert!(common(&dataset, &files("/o.d/.x.20261121T230000Z")).is_some());
}

#[test]
fn links_in_the_literal_part_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data", dir.path().join("log")).unwrap();
    let files = |name: &str| {
        let path = format!("{}/{name}/deeper/{{dataset}}", dir.path().display());
        SinkFiles::of(plain(&path), &[], &[], &resolve).unwrap()
    };
    assert!(common(&files("data"), &files("log")).is_some());
    assert_eq!(common(&files("data"), &files("other")), None);
    assert_eq!(resolve(Path::new("/nowhere/../a/./b")), Path::new("/a/b"));
}

proptest! {
    /// A common file is found whenever both templates render to it, and both match every file
    /// found.
    #[test]
    fn agrees_with_rendering(
        one in "/o/(a|b|_|\\{dataset\\}|\\{endpoint\\}|%F|%H|%-d|%j|%s|-){1,4}",
        other in "/o/(a|b|_|\\{dataset\\}|\\{endpoint\\}|%F|%H|%-d|%j|%s|-){1,4}",
        second in 0_i64..4_000_000_000,
        dataset in "[ab_01]{1,3}",
    ) {
        let render = |template: &str, dataset: &str| {
            let time = Timestamp::from_second(second).unwrap();
            PathTemplate::parse(template).unwrap().render("main", dataset, time)
        };
        let path = render(&one, &dataset);
        let path = path.to_str().unwrap();
        prop_assert!(common(&files(&one), &files(path)).is_some(), "{}", path);
        let found = common(&files(&one), &files(&other));
        if render(&other, &dataset).to_str() == Some(path) {
            prop_assert!(found.is_some(), "{}", path);
        }
        if let Some(found) = found {
            for template in [&one, &other] {
                prop_assert!(common(&files(template), &files(&found)).is_some(), "{}", found);
            }
        }
    }
}
