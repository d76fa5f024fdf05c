//! `[sink.NAME.syslog]`: where to send to, and what the messages look like.

use std::{path::PathBuf, time::Duration};

use toml::Spanned;

use super::{check_file, more_than_zero};
use crate::{
    config::{
        ClientTls, Framing, HostPort, Oversize, SeverityBy, SyslogFormat, SyslogSink, SyslogTarget,
        SyslogTime, context::Context, diagnostic::Diagnostic, reader::Table, units::format_bytes,
    },
    sink::message::Message,
};

/// What a UDP datagram holds beside its headers.
const MAX_DATAGRAM: u64 = 65_507;

const FACILITIES: [(&str, u8); 24] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("ntp", 12),
    ("audit", 13),
    ("alert", 14),
    ("clock", 15),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

const SEVERITIES: [(&str, u8); 8] = [
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

/// A sink's keys, but for those that every sink has.
pub(super) fn syslog(table: &mut Table<'_>, cx: &mut Context) -> Option<SyslogSink> {
    table.require("address", "add `address = \"tcp://siem.example.com:601\"`", cx);
    let targets = targets(table, cx);
    let formats = [("rfc5424", SyslogFormat::Rfc5424), ("rfc3164", SyslogFormat::Rfc3164)];
    let format = table.choice("format", &formats, cx).unwrap_or(SyslogFormat::Rfc5424);
    let times = [("received", SyslogTime::Received), ("event", SyslogTime::Event)];
    let time = table.choice("time", &times, cx).unwrap_or(SyslogTime::Received);
    let framings = [("octet_counting", Framing::OctetCounting), ("newline", Framing::Newline)];
    let framing = table.choice("framing", &framings, cx);
    let messages = [("json", Message::Json), ("cef", Message::Cef), ("leef", Message::Leef)];
    let message = table.choice("message", &messages, cx).unwrap_or_default();
    let message = leef_version(table, message, cx);
    let facility = table.choice("facility", &FACILITIES, cx).unwrap_or(16);
    let severity = table.choice("severity", &SEVERITIES, cx).unwrap_or(6);
    let severity_by = severity_by(table, cx);
    let hostname = header_field(table, "hostname", 255, Filled::Never, cx);
    let app_name = header_field(table, "app_name", 48, Filled::WithNames, cx);
    for key in ["msgid", "structured_data"] {
        if format == SyslogFormat::Rfc3164 && table.contains(key) {
            let problem = format!("`{}` has no place in a header of RFC 3164", table.full(key));
            cx.push(table.problem(problem).hint("leave it out, or use format = \"rfc5424\""));
        }
    }
    let msgid = header_field(table, "msgid", 32, Filled::WithNames, cx);
    let structured_data = structured_data(table, cx);
    let max_message_bytes = max_message_bytes(table, targets.as_deref(), cx);
    let oversizes = [("truncate", Oversize::Truncate), ("drop", Oversize::Drop)];
    let oversize = table.choice("oversize", &oversizes, cx).unwrap_or(Oversize::Truncate);
    let timeout = more_than_zero(table, "timeout", None, cx);
    let resend_window = table.duration("resend_window", cx).unwrap_or(Duration::from_secs(5));
    let failback = table.duration("failback", cx).unwrap_or(Duration::from_secs(60));
    let tls = client_tls(table.table("tls", cx), cx);
    let speaks_tls = |target: &SyslogTarget| matches!(target, SyslogTarget::Tls(_));
    if let Some(targets) = &targets
        && tls != ClientTls::default()
        && !targets.iter().any(speaks_tls)
    {
        // Whoever wrote that thinks that the connection is encrypted.
        let message = format!("`{}` has no use: no address begins with tls://", table.full("tls"));
        cx.push(table.problem(message).hint("write the address as \"tls://HOST:6514\""));
    }

    Some(SyslogSink {
        targets: targets?,
        format,
        message,
        time,
        framing,
        facility,
        severity,
        severity_by,
        hostname,
        app_name: app_name.unwrap_or_else(|| "logpushd".into()),
        msgid: msgid.unwrap_or_else(|| "{dataset}".into()),
        structured_data,
        max_message_bytes,
        oversize,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
        resend_window,
        failback,
        tls,
    })
}

/// `leef_version` chooses between the two LEEF messages; any other message has no such version.
fn leef_version(table: &mut Table<'_>, message: Message, cx: &mut Context) -> Message {
    if message != Message::Leef && table.contains("leef_version") {
        let problem =
            format!("`{}` has no use: the message is not LEEF", table.full("leef_version"));
        cx.push(table.problem(problem).hint("add message = \"leef\", or leave it out"));
    }
    let versions = [("2.0", Message::Leef), ("1.0", Message::Leef1)];
    let version = table.choice("leef_version", &versions, cx).unwrap_or(Message::Leef);
    if message == Message::Leef { version } else { message }
}

fn targets(table: &mut Table<'_>, cx: &mut Context) -> Option<Vec<SyslogTarget>> {
    let addresses = table.string_or_strings("address", cx)?;
    if addresses.get_ref().is_empty() {
        let message = format!("`{}` is an empty list", table.full("address"));
        cx.push(
            Diagnostic::at(addresses.span(), message)
                .hint("name at least one address, as \"tcp://siem.example.com:601\""),
        );
    }
    let mut targets = Vec::new();
    for text in addresses.get_ref() {
        let Some(target) = target(text.get_ref(), cx) else {
            let message = format!("`{}` is not a syslog address", text.get_ref().escape_debug());
            cx.push(Diagnostic::at(text.span(), message).hint(
                "write \"udp://HOST:514\", \"tcp://HOST:601\", \"tls://HOST:6514\" or \"unix:///dev/log\"",
            ));
            continue;
        };
        if targets.contains(&target) {
            let message = format!("`{target}` stands twice in `{}`", table.full("address"));
            cx.push(Diagnostic::at(text.span(), message));
        }
        targets.push(target);
    }
    (targets.len() == addresses.get_ref().len() && !targets.is_empty()).then_some(targets)
}

fn target(text: &str, cx: &Context) -> Option<SyslogTarget> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme == "unix" {
        let (folder, rest) = cx.begin(rest);
        let path = folder.join(rest);
        // What an address of the kernel holds, with the zero behind it.
        let fits = path.as_os_str().len() < 108 && !rest.is_empty();
        let is_plain = !rest.contains(char::is_control);
        return (fits && is_plain).then_some(SyslogTarget::Unix(path));
    }
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = if let Some(address) = bare {
        address.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        let is_of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        (1..=253).contains(&host.len()) && host.bytes().all(is_of_a_name)
    };
    let at = HostPort { host: bare.unwrap_or(host).to_owned(), port };
    match scheme {
        "udp" if is_host => Some(SyslogTarget::Udp(at)),
        "tcp" if is_host => Some(SyslogTarget::Tcp(at)),
        "tls" if is_host => Some(SyslogTarget::Tls(at)),
        _ => None,
    }
}

fn severity_by(table: &mut Table<'_>, cx: &mut Context) -> Option<SeverityBy> {
    if table.contains("severity_field") != table.contains("severity_values") {
        let message = "`severity_field` and `severity_values` need each other".to_owned();
        cx.push_incomplete(
            table.problem(message).hint(
                "as severity_field = \"Action\" and severity_values = { block = \"warning\" }",
            ),
        );
    }
    let field = table.string("severity_field", cx);
    let values = table.string_table("severity_values", cx);
    let mut known = Vec::new();
    for (value, severity) in values? {
        let known_as = SEVERITIES.iter().find(|(name, _)| name == severity.get_ref());
        if let Some((_, severity)) = known_as {
            known.push((value.into_inner(), *severity));
            continue;
        }
        let word = severity.get_ref().escape_debug();
        let choices = SEVERITIES.map(|(name, _)| format!("\"{name}\"")).join(", ");
        cx.push(
            Diagnostic::at(severity.span(), format!("`{word}` is not a severity"))
                .hint(format!("the values are {choices}")),
        );
    }
    Some(SeverityBy { field: field?.into_inner(), values: known })
}

/// Whether names are filled in.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Filled {
    Never,
    WithNames,
}

impl Filled {
    /// `text` without what is filled in.
    fn literal(self, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::WithNames => text.replace("{dataset}", "").replace("{endpoint}", ""),
        }
    }
}

fn header_field(
    table: &mut Table<'_>,
    key: &'static str,
    max: usize,
    filled: Filled,
    cx: &mut Context,
) -> Option<String> {
    let text = table.string(key, cx)?;
    let literal = filled.literal(text.get_ref());
    let fault = if text.get_ref().is_empty() {
        Some("is empty".to_owned())
    } else if !literal.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("may only have printable ASCII without spaces".to_owned())
    } else if literal.len() > max {
        Some(format!("is longer than {max} characters"))
    } else if filled == Filled::WithNames && literal.contains(['{', '}']) {
        Some("has braces that stand for nothing: {dataset} and {endpoint} are filled in".to_owned())
    } else {
        None
    };
    if let Some(fault) = fault {
        cx.push(Diagnostic::at(text.span(), format!("`{}` {fault}", table.full(key))));
        return None;
    }
    Some(text.into_inner())
}

type StructuredData = Vec<(String, Vec<(String, String)>)>;

fn structured_data(table: &mut Table<'_>, cx: &mut Context) -> StructuredData {
    let mut data = Vec::new();
    for (id, parameters) in table.string_tables("structured_data", cx) {
        check_sd_name(&id, cx);
        let mut known = Vec::new();
        for (name, value) in parameters {
            check_sd_name(&name, cx);
            let literal = Filled::WithNames.literal(value.get_ref());
            if literal.contains(char::is_control) {
                let message = format!("the value of `{}` has a control character", name.get_ref());
                cx.push(Diagnostic::at(value.span(), message));
            }
            known.push((name.into_inner(), value.into_inner()));
        }
        data.push((id.into_inner(), known));
    }
    data
}

/// SD-NAME of RFC 5424.
fn check_sd_name(name: &Spanned<String>, cx: &mut Context) {
    let text = name.get_ref();
    let is_name = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"'));
    if !is_name {
        let message = format!("`{}` is no name for structured data", text.escape_debug());
        cx.push(Diagnostic::at(name.span(), message).hint(
            "use 1 to 32 printable ASCII characters without spaces, `=`, `]` and quotes, as \"zone@32473\"",
        ));
    }
}

fn max_message_bytes(
    table: &mut Table<'_>,
    targets: Option<&[SyslogTarget]>,
    cx: &mut Context,
) -> usize {
    let has_udp =
        targets.is_some_and(|all| all.iter().any(|target| matches!(target, SyslogTarget::Udp(_))));
    // A longer datagram cannot be sent at all. Over a stream nothing but the server sets a limit.
    let (default, most) = if has_udp { (MAX_DATAGRAM, MAX_DATAGRAM) } else { (64 << 10, 64 << 20) };
    let size = table.size("max_message_bytes", cx);
    if let Some(size) = &size
        && !(1024..=most).contains(size.get_ref())
    {
        let name = table.full("max_message_bytes");
        let most = if has_udp { format!("{most} bytes") } else { format_bytes(most) };
        let message = format!("`{name}` must be between 1 KiB and {most}");
        let problem = Diagnostic::at(size.span(), message);
        cx.push(if has_udp { problem.hint("a UDP datagram holds no more") } else { problem });
    }
    let size = size.map_or(default, Spanned::into_inner);
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn client_tls(mut table: Table<'_>, cx: &mut Context) -> ClientTls {
    if table.contains("cert_file") != table.contains("key_file") {
        let message = format!(
            "`{}` and `{}` need each other",
            table.full("cert_file"),
            table.full("key_file")
        );
        cx.push_incomplete(table.problem(message).hint("name both, or none of the two"));
    }
    let ca_file = file(&mut table, "ca_file", "the CA that signed the server's certificate", cx);
    let cert_file = file(&mut table, "cert_file", "the certificate and then its intermediates", cx);
    let key_file = file(&mut table, "key_file", "the private key", cx);
    let server_name = table.string("server_name", cx);
    let is_name = |name: &Spanned<String>| {
        rustls::pki_types::ServerName::try_from(name.get_ref().as_str()).is_ok()
    };
    if let Some(name) = server_name.as_ref().filter(|name| !is_name(name)) {
        let message = format!("`{}` is not the name of a server", name.get_ref().escape_debug());
        cx.push(
            Diagnostic::at(name.span(), message)
                .hint("write a name or an IP address, as it stands in the server's certificate"),
        );
    }
    table.finish(cx);
    ClientTls {
        ca_file,
        client: cert_file.zip(key_file),
        server_name: server_name.map(Spanned::into_inner),
    }
}

fn file(
    table: &mut Table<'_>,
    key: &'static str,
    content: &str,
    cx: &mut Context,
) -> Option<PathBuf> {
    let file = table.input(key, cx)?;
    check_file(&file, &format!("name a PEM file with {content}"), cx);
    Some(file.into_inner())
}
