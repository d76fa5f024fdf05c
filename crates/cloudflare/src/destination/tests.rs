use proptest::{prelude::*, sample::select};

use super::*;

fn parsed(text: &str) -> Parsed {
    Destination::parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn header(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    (name.parse().unwrap(), value.parse().unwrap())
}

fn server(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

#[test]
fn header_parameters_become_headers_and_the_others_stay() {
    let text = "https://logs.example.com:8443/logpush/http_requests?tags=a%2Fb,c&header_X-Logpush-Secret=\
                s3cr%2Bt%20%C3%A9&x&header_content-type=application/json&z=1=2";
    let Parsed { destination, warnings } = parsed(text);
    assert_eq!(warnings, []);
    assert_eq!(destination.scheme, Scheme::Https);
    assert_eq!(destination.server, server("logs.example.com", 8443));
    assert_eq!(destination.path_and_query, "/logpush/http_requests?tags=a%2Fb,c&x&z=1=2");
    assert_eq!(destination.verification, Verification::Required);
    let headers = destination.header_map();
    assert_eq!(headers["x-logpush-secret"].as_bytes(), "s3cr+t \u{e9}".as_bytes());
    assert_eq!(headers["content-type"], "application/json");
    let plus = parsed("https://logs.example.com/?header_X=a+b%2B+&a=b+c").destination;
    assert_eq!(plus.header_map()["x"], "a b+ ");
    assert_eq!(plus.path_and_query, "/?a=b+c");
    assert!(headers.values().all(HeaderValue::is_sensitive));
}

#[test]
fn abbreviated_urls_are_accepted() {
    for (text, host, port, path) in [
        ("https://logs.example.com", "logs.example.com", 443, "/"),
        ("https://logs.example.com?a=b", "logs.example.com", 443, "/?a=b"),
        ("https://logs.example.com/?", "logs.example.com", 443, "/"),
        ("HTTPS://logs.example.com./a/b", "logs.example.com.", 443, "/a/b"),
        ("logs.example.com:8443", "logs.example.com", 8443, "/"),
        (" logs.example.com/x\n", "logs.example.com", 443, "/x"),
        ("localhost:8443/x", "localhost", 8443, "/x"),
    ] {
        let Parsed { destination, warnings } = parsed(text);
        assert_eq!(destination.server, server(host, port), "{text}");
        assert_eq!(destination.path_and_query, path, "{text}");
        let has_scheme = text.contains("://");
        assert_eq!(warnings.len(), usize::from(!has_scheme), "{text} {warnings:?}");
    }
}

#[test]
fn splunk_destinations_have_their_own_parameters() {
    let text = "splunk://splunk.example.com:8088/services/collector/raw?channel=8c6b5cd2&insecure-skip-verify=\
                true&sourcetype=cloudflare:json&header_Authorization=Splunk%20token";
    let Parsed { destination, warnings } = parsed(text);
    assert_eq!(destination.scheme, Scheme::Splunk);
    assert_eq!(destination.server, server("splunk.example.com", 8088));
    assert_eq!(
        destination.path_and_query,
        "/services/collector/raw?channel=8c6b5cd2&insecure-skip-verify=true&sourcetype=cloudflare:json"
    );
    assert_eq!(destination.verification, Verification::Skipped);
    assert_eq!(destination.header_map()["authorization"], "Splunk token");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(destination.encode().unwrap(), text);

    let good = text.replace("true", "false").replace(":8088", "");
    let Parsed { destination, warnings } = parsed(&good);
    assert_eq!(destination.verification, Verification::Required);
    assert_eq!(destination.server.port, 443);
    assert_eq!(warnings, []);
}

#[test]
fn every_problem_has_a_position_and_advice() {
    use ProblemSeverity::{Error, Warning};
    let long = format!("https://h.example/{}", "a".repeat(MAX_CHARS));
    let cases: &[(&str, ProblemSeverity, Option<usize>, &str)] = &[
        ("", Error, None, "write https://HOST/PATH"),
        ("https://", Error, Some(9), "the host is missing"),
        ("https:///path", Error, Some(9), "the host is missing"),
        ("http://h.example/", Error, Some(1), "write https://"),
        ("s3://bucket/path", Error, Some(1), "`s3://` is not supported"),
        (&long, Error, None, "has 4114 characters, and Cloudflare accepts at most 4096"),
        ("https://h.example/a b", Error, Some(20), "cannot contain a space"),
        ("https://h.example/a~b~", Error, Some(20), "write %7E"),
        ("https://h.example/\u{e9}?\u{e9}", Error, Some(19), "percent-encode it as UTF-8"),
        ("https://h\u{e4}.example/", Error, Some(10), "xn-- form"),
        ("\"https://h.example/\"", Error, Some(1), "remove the quotes"),
        ("https://user:word@h.example/", Error, Some(18), "header_Authorization=Basic"),
        ("https://h.example/#part", Error, Some(19), "the part after # is never sent"),
        ("https://[2001:db8::1]/", Error, Some(9), "instead of an IPv6 address"),
        ("https://[2001:db8::1]/", Warning, Some(10), "the host is an IP address, 2001:db8::1"),
        ("https://192.0.2.1/", Warning, Some(9), "would need an IP SAN"),
        ("https://1.2.3/", Error, Some(9), "neither a host name nor an IPv4"),
        ("https://h..example/", Error, Some(9), "is not a valid host name"),
        ("https://-h.example/", Error, Some(9), "is not a valid host name"),
        // Without the `?`.
        ("https://h.example&header_X=1", Error, Some(18), "the host contains a parameter"),
        ("https://h.example:1&a=@b", Error, Some(20), "the host contains a parameter"),
        ("https://h.exampleHeader_X=1", Error, Some(18), "the host contains a parameter"),
        ("https://h.example=hunter2", Error, Some(9), "`h.example...` is not a valid host name"),
        ("https://h.example:0/", Error, Some(18), "port"),
        ("https://h.example:/", Error, Some(18), "port"),
        ("https://h.example:+443/", Error, Some(18), "port"),
        ("https://h.example:65536/", Error, Some(18), "port"),
        ("https://h.example/%zz", Error, Some(19), "write %25"),
        ("https://h.example/?a=%2", Error, Some(22), "write %25"),
        ("https://h.example/a&header_X=y", Error, Some(20), "begin the first parameter with ?"),
        ("https://h.example/{dataset}", Error, Some(19), "write the dataset's name"),
        ("https://h.example/{DATE}", Warning, Some(19), "write the value"),
        ("https://h.example/?header_=x", Error, Some(27), "the header name is invalid"),
        ("https://h.example/?header_X%20Y=x", Error, Some(27), "the header name is invalid"),
        ("https://h.example/?header_Host=x", Error, Some(27), "host cannot be set"),
        ("https://h.example/?header_Content-Encoding=x", Error, Some(27), "cannot be set"),
        ("https://h.example/?header_X=a%0Ab", Error, Some(29), "a header cannot contain it"),
        ("https://h.example/?header_X=a+b", Warning, Some(30), "write %20"),
        ("https://h.example/?header_X=", Warning, Some(29), "has no value"),
        ("https://h.example/?header_X", Warning, Some(28), "has no value"),
        ("https://h.example/?header_X=a%20", Warning, Some(29), "does not preserve it"),
        ("https://h.example/?header_X_Y=a", Warning, Some(27), "underscore"),
        ("https://h.example/?header_X=a&header_x=b", Warning, Some(38), "occurs twice"),
        ("https://h.example/?Header_X=a", Warning, Some(20), "lower case"),
        ("https://h.example/?insecure-skip-verify=true", Warning, Some(20), "ignores this"),
        ("splunk://h.example/services/collector/raw", Error, None, "add channel=GUID"),
        ("splunk://h.example/services/collector/raw?channel=1", Warning, None, "token is missing"),
        ("splunk://h.example/?channel=1", Warning, Some(19), "/services/collector/raw"),
        ("splunk://h.example/?insecure-skip-verify=no", Error, Some(42), "neither true nor"),
        ("splunk://h.example/?channel=1&header_Authorization=x", Warning, None, "begin with"),
    ];
    for (text, severity, column, part) in cases {
        let problems = match Destination::parse(text) {
            Ok(parsed) => parsed.warnings,
            Err(DestinationProblems(problems)) => problems,
        };
        let is_expected = |problem: &&DestinationProblem| {
            problem.severity == *severity
                && problem.column == *column
                && problem.to_string().contains(part)
        };
        assert!(problems.iter().any(|p| is_expected(&p)), "{text}: {part:?} not in {problems:#?}");
        let is_refused = problems.iter().any(|problem| problem.severity == Error);
        assert_eq!(Destination::parse(text).is_err(), is_refused, "{text}");
    }
}

#[test]
fn all_problems_are_reported_at_once_and_each_character_once() {
    let DestinationProblems(problems) =
        Destination::parse("http://u@h~~/ %q?header_Host=~").unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems.iter().filter_map(|p| p.cloudflare).all(|words| words.contains(CHARSET)));
}

#[test]
fn no_secret_is_shown() {
    let text = "https://h.example/p?key=verysecret&header_X=verysecret";
    let Parsed { destination, .. } = parsed(text);
    assert_eq!(destination.to_string(), "https://h.example/p");
    assert!(!format!("{destination:?}").contains("verysecret"));
    for wrong in ["&header_X=verysecret%0A", "&header_X=verysecret%2", "&header_X=verysecret+ ~"] {
        let error = Destination::parse(&format!("{text}{wrong}")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("verysecret"), "{error}");
    }
}

#[test]
fn values_that_cannot_be_encoded_are_reported() {
    let mut destination = parsed("https://h.example/p").destination;
    destination.path_and_query = "/a~b".to_owned();
    let problem = destination.encode().unwrap_err().to_string();
    assert!(problem.contains("character 20") && problem.contains('~'), "{problem}");
    destination.path_and_query = "/p".to_owned();
    destination.headers.push(header("x-long", &"a".repeat(MAX_CHARS)));
    let problem = destination.encode().unwrap_err().to_string();
    assert!(problem.contains("shorten"), "{problem}");
}

#[test]
fn header_names_are_formatted_as_go_does() {
    let mut destination = parsed("https://h.example/p?a=b").destination;
    destination.headers = vec![header("x-logpush-secret", "a~b+c d/e=\u{e9}")];
    assert_eq!(
        destination.encode().unwrap(),
        "https://h.example/p?a=b&header_X-Logpush-Secret=a%7Eb%2Bc%20d%2Fe%3D%C3%A9"
    );
}

fn destinations() -> impl Strategy<Value = Destination> {
    let scheme = select(vec![Scheme::Https, Scheme::Splunk]);
    let host = "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9-]{0,8}[a-z0-9]){0,3}";
    let path = "(/[a-zA-Z0-9._:,=+-]{0,8}){1,4}";
    let query = "(&[a-z]{1,4}(=[a-zA-Z0-9._:/,+-]{0,8}(%2[0-9A-F])?)?){0,3}";
    let headers =
        prop::collection::vec(("x-[a-z!#$%&'*+.^`|~-]{1,9}", "[ -~\u{a1}-\u{ff}\t]{0,40}"), 0..4);
    (scheme, host, 1_u16.., path, query, headers).prop_map(
        |(scheme, host, port, path, query, headers)| Destination {
            scheme,
            server: HostPort { host, port },
            path_and_query: format!("{path}?channel=1{query}"),
            headers: headers
                .into_iter()
                .map(|(name, value)| {
                    (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
                })
                .collect(),
            verification: Verification::Required,
        },
    )
}

proptest! {
    #[test]
    fn an_encoded_destination_parses_to_itself(destination in destinations()) {
        let text = destination.encode().unwrap();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".,_:/?%+&={}-".contains(c);
        prop_assert!(text.chars().all(is_allowed), "{text}");
        prop_assert_eq!(parsed(&text).destination, destination);
    }

    #[test]
    fn any_text_is_parsed_or_refused(
        text in prop_oneof![
            "\\PC{0,60}",
            "(https|splunk)://[a-z@:\\[\\].0-9]{0,9}[/?#&a-z=%+_ {}é]{0,30}",
            "https://h/\\?(header_[a-zA-Z%+=]{0,5}=[a-z%0-9+=]{0,9}&?){0,4}",
        ]
    ) {
        match Destination::parse(&text) {
            // Encoding and parsing again gives the same destination.
            Ok(Parsed { destination, .. }) => match destination.encode() {
                Ok(encoded) => prop_assert_eq!(parsed(&encoded).destination, destination),
                Err(problems) => prop_assert!(problems.to_string().contains("has 4"), "{problems}"),
            },
            Err(DestinationProblems(problems)) => {
                prop_assert!(problems.iter().any(|problem| problem.severity == ProblemSeverity::Error));
                let length = text.trim().chars().count();
                prop_assert!(problems.iter().filter_map(|p| p.column).all(|c| (1..=length + 1).contains(&c)));
            }
        }
    }
}

#[test]
fn a_url_in_a_parameter_is_not_the_scheme() {
    let text = "h.example/p?header_X-Key=hunter2&u=https:%2F%2Fx&v=https://x";
    let parsed = Destination::parse(text).unwrap();
    assert_eq!(parsed.destination.server.host, "h.example");
    assert!(!format!("{:?}", parsed.warnings).contains("hunter2"), "{:?}", parsed.warnings);
}
