//! The results of the tables for single datasets.

use cloudflare::datasets::DATASETS;

use super::*;

#[test]
fn every_dataset_of_cloudflare_has_its_own_table() {
    let mut mapped: Vec<_> = ALL.iter().map(|mapping| mapping.dataset).collect();
    assert_eq!(mapped.pop(), Some(""), "the general table is the last");
    mapped.sort_unstable();
    assert_eq!(mapped, DATASETS);
}

/// Administrators of a SIEM map every ID by hand.
#[test]
fn event_ids_have_few_values() {
    let cases = [
        ("http_requests", r#"{"EdgeResponseStatus":204}"#, "http_requests:2xx"),
        ("http_requests", r#"{"EdgeResponseStatus":"404"}"#, "http_requests:4xx"),
        ("http_requests", r#"{"EdgeResponseStatus":599}"#, "http_requests:5xx"),
        ("http_requests", r#"{"EdgeResponseStatus":0}"#, "http_requests"),
        ("http_requests", r#"{"EdgeResponseStatus":987654}"#, "http_requests"),
        (
            "http_requests",
            r#"{"EdgeResponseStatus":403,"SecurityAction":"block"}"#,
            "http_requests:block",
        ),
        (
            "access_requests",
            r#"{"Action":"login","Allowed":true}"#,
            "access_requests:login:allowed",
        ),
        (
            "access_requests",
            r#"{"Action":"login","Allowed":false}"#,
            "access_requests:login:denied",
        ),
        ("access_requests", r#"{"Allowed":false}"#, "access_requests:denied"),
        ("access_requests", r#"{"Action":"logout"}"#, "access_requests:logout"),
        (
            "turnstile_events",
            r#"{"Action":"any-name","EventType":"challenge_issued"}"#,
            "turnstile_events:challenge_issued",
        ),
        (
            "dex_application_tests",
            r#"{"TestType":"http","HTTPStatusCode":503,"TracerouteStatus":""}"#,
            "dex_application_tests:http:5xx",
        ),
        (
            "dex_application_tests",
            r#"{"TestType":"traceroute","HTTPStatusCode":0,"TracerouteStatus":"lastHopFailed"}"#,
            "dex_application_tests:traceroute:lastHopFailed",
        ),
        ("of_another", r#"{"Status":418}"#, "of_another:4xx"),
        ("of_another", r#"{"Status":1000}"#, "of_another"),
    ];
    for (dataset, record, id) in cases {
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        assert_eq!(cef.header[3], id, "{record}");
        let leef = read_leef(&message(Message::Leef, dataset, record.as_bytes()));
        assert_eq!(leef.header[3], id, "{record}");
    }
}

#[test]
fn access_requests_have_an_outcome() {
    for (allowed, outcome) in [("true", "success"), ("false", "failure")] {
        let record = format!(r#"{{"Action":"login","Allowed":{allowed}}}"#);
        let cef = read_cef(&message(Message::Cef, "access_requests", record.as_bytes()));
        assert_eq!((cef.value("outcome"), cef.value("act")), (Some(outcome), Some("login")));
        let leef = read_leef(&message(Message::Leef, "access_requests", record.as_bytes()));
        assert_eq!(leef.value("Allowed"), Some(allowed));
    }
}

#[test]
fn both_ends_of_an_event_are_in_milliseconds_and_keep_their_digits() {
    let cases = [
        ("http_requests", "EdgeStartTimestamp", "EdgeEndTimestamp"),
        ("spectrum_events", "ConnectTimestamp", "DisconnectTimestamp"),
        ("zero_trust_network_sessions", "SessionStartTime", "SessionEndTime"),
        ("websocket_analytics", "EdgeStartTimestamp", "EdgeEndTimestamp"),
        ("websocket_analytics", "timestampStartNanos", "timestampEndNanos"),
        ("ssh_logs", "SessionStartDatetime", "SessionFinishDatetime"),
        ("email_security_post_delivery_events", "RequestedAt", "CompletedAt"),
        ("dex_application_tests", "Timestamp", "TracerouteTimeEnd"),
    ];
    for (dataset, start, end) in cases {
        let record =
            format!(r#"{{"{start}":1763766522123456789,"{end}":"2025-11-21T23:08:43.5Z"}}"#);
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        assert_eq!(cef.value("start"), Some("1763766522123"), "{dataset}");
        assert_eq!(cef.value("end"), Some("1763766523500"), "{dataset}");
        let is_whole = cef.pairs.iter().any(|(_, value)| value == "1763766522123456789");
        assert!(is_whole, "{dataset}");
        // A session that has not ended.
        let record = format!(r#"{{"{start}":0,"{end}":""}}"#);
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        assert_eq!((cef.value("start"), cef.value("end")), (None, None), "{dataset}");
    }
}

#[test]
fn an_email_alert_has_its_sender_recipients_and_subject() {
    let record = br#"{"FinalDisposition":"malicious","From":"a@example.net","To":["b@example.com","c@example.com"],"Subject":"Pay = now"}"#;
    let cef = read_cef(&message(Message::Cef, "email_security_alerts", record));
    assert_eq!(cef.header[5], "9");
    assert_eq!(cef.value("suser"), Some("a@example.net"));
    assert_eq!(cef.value("duser"), Some("b@example.com,c@example.com"));
    assert_eq!(cef.value("msg"), Some("Pay = now"));
    let leef = read_leef(&message(Message::Leef, "email_security_alerts", record));
    assert_eq!(leef.value("usrName"), Some("b@example.com,c@example.com"));
    assert_eq!(leef.value("To"), Some(r#"["b@example.com","c@example.com"]"#));
}

#[test]
fn severity_depends_on_the_level_of_cloudflare() {
    let cases = [
        ("email_security_alerts", r#"{"FinalDisposition":"spoof"}"#, "7"),
        ("email_security_alerts", r#"{"FinalDisposition":"spam"}"#, "4"),
        ("email_security_alerts", r#"{"FinalDisposition":"unset"}"#, "1"),
        ("magic_ids_detections", r#"{"Action":"pass"}"#, "5"),
        ("magic_ids_detections", r#"{"Action":"block"}"#, "7"),
        ("casb_findings", r#"{"FindingTypeSeverity":"Critical"}"#, "10"),
        ("casb_findings", r#"{"FindingTypeSeverity":"Low"}"#, "3"),
        ("zero_trust_network_sessions", r#"{"ConnectionCloseReason":"CLIENT_CLOSED"}"#, "1"),
        ("zero_trust_network_sessions", r#"{"ConnectionCloseReason":"ORIGIN_TLS_ERROR"}"#, "5"),
        ("websocket_analytics", r#"{"ConnectionCloseReason":"peerNoError"}"#, "1"),
        ("websocket_analytics", r#"{"connectionCloseReason":"timedOut"}"#, "5"),
        ("ssh_logs", r#"{"Error":""}"#, "1"),
        ("ssh_logs", r#"{"Error":"no route to host"}"#, "5"),
        ("dns_firewall_logs", r#"{"ClientResponseCode":2}"#, "4"),
        ("sinkhole_http_logs", "{}", "5"),
    ];
    for (dataset, record, severity) in cases {
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        assert_eq!(cef.header[5], severity, "{dataset}: {record}");
    }
}
