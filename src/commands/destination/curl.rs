//! Cloudflare's destination check as a call of curl. The secret is read from its file: what is printed
//! may be shown around, and stays good when the secret changes.

use std::path::Path;

use crate::{
    config::{Auth, Endpoint, Tls},
    destination::Destination,
};

pub(super) fn call(destination: &Destination, endpoint: &Endpoint, tls: &Tls) -> String {
    let mut words = vec![String::from(
        "printf '{\"content\":\"test\"}' | gzip | curl --data-binary @- --header 'Content-Encoding: gzip'",
    )];
    let shown = match &endpoint.auth {
        Auth::Secret { header, file } => Some((header.as_str(), "", file)),
        Auth::Token { file } => Some(("Authorization", "Splunk ", file)),
        Auth::None => None,
    };
    if let Some((header, scheme, file)) = shown {
        // The name of a header may hold what a shell fills in.
        let name = header.replace('$', r"\$").replace('`', r"\`");
        // The first line that holds something, without the space around it, as the daemon reads it.
        let first = "sed -n 's/^[[:space:]]*//;s/[[:space:]]*$//;/./{p;q;}'";
        let secret = format!("$({first} {})", quoted_path(file));
        words.push(format!("--header \"{name}: {scheme}{secret}\""));
    }
    if tls.self_signed {
        words.push(format!("--cacert {}", quoted_path(&tls.cert_file)));
    }
    let Destination { server, path_and_query, .. } = destination;
    words.push(quoted(&format!("https://{server}{path_and_query}")));
    words.join(" ")
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// For a shell, as it is.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("/etc/logpushd/secrets.txt"), "/etc/logpushd/secrets.txt");
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
