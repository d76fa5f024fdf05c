//! Cloudflare's destination check as a curl command. The command reads the secret from its file, so
//! that it can be shared, and works after the secret has changed.

use std::path::Path;

use crate::{
    config::{Auth, Endpoint, Tls},
    destination::Destination,
};

pub(super) fn call(destination: &Destination, endpoint: &Endpoint, tls: &Tls) -> String {
    let mut arguments = vec![String::from(
        "printf '{\"content\":\"test\"}' | gzip | curl --data-binary @- --header \
         'Content-Encoding: gzip'",
    )];
    let secret = match &endpoint.auth {
        Auth::Secret { header, file } => Some((header.as_str(), "", file)),
        Auth::Token { file } => Some(("Authorization", "Splunk ", file)),
        Auth::None => None,
    };
    if let Some((header, scheme, file)) = secret {
        // The name of a header can contain characters that a shell expands.
        let name = header.replace('$', r"\$").replace('`', r"\`");
        // Prints the first line that is not blank, trimmed, as the daemon reads it.
        let first = "sed -n 's/^[[:space:]]*//;s/[[:space:]]*$//;/./{p;q;}'";
        let secret = format!("$({first} {})", quoted_path(file));
        arguments.push(format!("--header \"{name}: {scheme}{secret}\""));
    }
    if tls.self_signed {
        arguments.push(format!("--cacert {}", quoted_path(&tls.cert_file)));
    }
    let Destination { server, path_and_query, .. } = destination;
    arguments.push(quoted(&format!("https://{server}{path_and_query}")));
    arguments.join(" ")
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Quotes a text for a shell, if necessary.
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
    fn special_characters_of_a_shell_are_quoted() {
        assert_eq!(quoted("/etc/logpushd/secrets.txt"), "/etc/logpushd/secrets.txt");
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
