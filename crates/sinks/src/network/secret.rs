//! Headers whose values are in files that the configuration names.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use settings::{
    Context, Spanned, Value,
    reference::Takes,
    secret_file::{self, SecretFileError},
    setting,
};

use super::url::{SECRET, SECRET_IN_PATH};
use crate::kinds::SecretClaim;

/// The minimum length of a part of a secret that is redacted: shorter ones occur by chance.
const MIN_SECRET_BYTES: usize = 4;

setting! {
    /// A file whose first line is a secret, for keys such as `token_file`.
    pub struct SecretFile(PathBuf): Takes::String("path"), read by secret_path;
}

fn secret_path(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    check_file(value, "name a file whose first line is the secret", cx)
}

setting! {
    /// A file whose first line is filled into a URL for `{secret}`.
    pub struct SecretInUrl(PathBuf): Takes::String("path"), read by secret_in_url;
}

fn secret_in_url(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    let file = value.input(cx).map(Spanned::into_inner)?;
    if cx.reads_files()
        && let Err(error) = read_for_url(&file)
    {
        let hint = error.hint("name a file whose first line replaces {secret} in `url`", cx);
        cx.push(value.problem(error.message()).hint(hint));
    }
    Some(file)
}

/// Reads the path of a file and checks that its first line can be the value of a header. `missing`
/// is what to do if there is no such file.
pub(super) fn check_file(value: &Value<'_>, missing: &str, cx: &mut Context) -> Option<PathBuf> {
    let file = value.input(cx).map(Spanned::into_inner)?;
    if cx.reads_files()
        && let Err(error) = read_header(&file, "")
    {
        let hint = error.hint(missing, cx);
        cx.push(value.problem(error.message()).hint(hint));
    }
    Some(file)
}

/// A header whose value comes from the first line of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretHeader {
    /// The name. Not a header that the sink sets itself.
    pub name: HeaderName,
    /// The key that names the file.
    key: &'static str,
    file: PathBuf,
    form: Form,
}

/// How the value of a header contains the secret.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    /// After this text.
    After(&'static str),
    /// As the password of this user, by RFC 7617.
    Basic { user: String },
}

impl SecretHeader {
    /// A header whose value is the secret.
    pub fn whole(key: &'static str, name: HeaderName, file: PathBuf) -> Self {
        Self::prefixed(key, name, "", file)
    }

    /// A header whose value is `prefix` and the secret.
    pub fn prefixed(
        key: &'static str,
        name: HeaderName,
        prefix: &'static str,
        file: PathBuf,
    ) -> Self {
        Self { name, key, file, form: Form::After(prefix) }
    }

    /// The header `Authorization` with a bearer token (RFC 6750, section 2.1), for `token_file`.
    pub fn bearer(file: PathBuf) -> Self {
        Self::prefixed("token_file", AUTHORIZATION, "Bearer ", file)
    }

    /// The header `Authorization` with user and password (RFC 7617), for `password_file`.
    pub fn basic(user: String, file: PathBuf) -> Self {
        Self { name: AUTHORIZATION, key: "password_file", file, form: Form::Basic { user } }
    }

    /// The claim of the sink on the file.
    pub fn claim(&self) -> SecretClaim<'_> {
        SecretClaim { key: self.key, file: &self.file }
    }

    fn read(&self) -> Result<(HeaderValue, String), SecretFileError> {
        let prefix = match &self.form {
            Form::After(prefix) => prefix,
            Form::Basic { user } => {
                let secret = secret_file::read_first_line(&self.file)?;
                let credentials = STANDARD.encode(format!("{user}:{secret}"));
                let value = header_value(&self.file, &format!("Basic {credentials}"))?;
                return Ok((value, secret));
            }
        };
        read_header(&self.file, prefix)
    }
}

/// The secrets of one sink.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) headers: HeaderMap,
    /// The value of `{secret}` in the URL.
    in_url: Option<String>,
    /// The texts to redact.
    texts: Vec<String>,
}

impl Secrets {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`secret_file::read_first_line`].
    pub(super) fn read(
        headers: &[SecretHeader],
        in_url: Option<&Path>,
    ) -> Result<Self, SecretFileError> {
        let mut secrets = Self { in_url: in_url.map(read_for_url).transpose()?, ..Self::default() };
        secrets.texts.extend(secrets.in_url.clone());
        for header in headers {
            let (value, secret) = header.read()?;
            secrets.add(&header.name, value, &secret);
        }
        Ok(secrets)
    }

    fn add(&mut self, name: &HeaderName, value: HeaderValue, secret: &str) {
        if let Ok(text) = value.to_str() {
            self.redact_also(text);
        }
        self.redact_also(secret);
        self.headers.insert(name, value);
    }

    /// Redacts the text, and what follows the scheme of `Authorization`, which is not secret.
    fn redact_also(&mut self, text: &str) {
        let token = text.split_once(' ').map(|(_, token)| token);
        let long_enough = |part: &&str| part.len() >= MIN_SECRET_BYTES;
        self.texts.push(text.to_owned());
        self.texts.extend(token.filter(long_enough).map(str::to_owned));
    }

    /// Fills in `{secret}` in the URL of a request.
    ///
    /// # Errors
    /// The result is not a URL.
    pub(super) fn fill_in(&self, url: &mut Url) -> Result<(), String> {
        let Some(secret) = &self.in_url else { return Ok(()) };
        let text = url.as_str().replace(SECRET_IN_PATH, secret).replace(SECRET, secret);
        *url = Url::parse(&text).map_err(|error| format!("cannot use the URL: {error}"))?;
        Ok(())
    }

    /// Redacts secrets in the message of a target, which may repeat the headers of the request.
    pub(super) fn redact(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for text in &self.texts {
            message = message.replace(text, "[secret]");
        }
        message
    }
}

/// Reads the first line of a file as the value of a header after `prefix`. The value never enters a
/// message.
///
/// # Errors
/// As [`secret_file::read_first_line`].
fn read_header(path: &Path, prefix: &str) -> Result<(HeaderValue, String), SecretFileError> {
    let secret = secret_file::read_first_line(path)?;
    let value = header_value(path, &format!("{prefix}{secret}"))?;
    Ok((value, secret))
}

/// Reads the first line of a file as a part of a URL.
fn read_for_url(path: &Path) -> Result<String, SecretFileError> {
    let secret = secret_file::read_first_line(path)?;
    // RFC 3986, section 3.3, without the apostrophe, which is not sent as it is.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&()*+,;=:@%".contains(&byte);
    if secret.bytes().all(is_plain) {
        return Ok(secret);
    }
    let fault = "the first line contains a character that a part of a URL cannot contain";
    let advice = "write only the secret part of the URL, and other characters percent-encoded";
    Err(SecretFileError::unusable(path, fault, advice))
}

fn header_value(path: &Path, text: &str) -> Result<HeaderValue, SecretFileError> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|error| {
        SecretFileError::unusable(path, error.to_string(), "write it in printable characters")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn header(secret: &str, form: Form) -> (SecretHeader, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token.txt");
        fs::write(&file, format!("{secret}\n")).unwrap();
        (SecretHeader { name: AUTHORIZATION, key: "token_file", file, form }, dir)
    }

    #[test]
    fn the_value_is_sensitive() {
        for (secret, form, expected) in [
            ("Bearer abc", Form::After(""), "Bearer abc"),
            ("abc é", Form::After(""), "abc é"),
            ("abc", Form::After("Splunk "), "Splunk abc"),
            // The example of RFC 7617, section 2.
            (
                "open sesame",
                Form::Basic { user: "Aladdin".to_owned() },
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
        ] {
            let (header, _dir) = header(secret, form);
            let secrets = Secrets::read(&[header], None).unwrap();
            let value = &secrets.headers[AUTHORIZATION];
            assert_eq!(value.as_bytes(), expected.as_bytes());
            assert!(!format!("{value:?}").contains("abc"), "{value:?}");
        }
    }

    #[test]
    fn a_secret_is_filled_into_path_and_query_and_redacted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token.txt");
        fs::write(&file, "ZaVn%2FC4dhaV==\n").unwrap();
        let secrets = Secrets::read(&[], Some(&file)).unwrap();
        for (template, expected) in [
            ("https://a.example/in/{secret}", "https://a.example/in/ZaVn%2FC4dhaV=="),
            (
                "https://a.example/in?key={secret}&a=b",
                "https://a.example/in?key=ZaVn%2FC4dhaV==&a=b",
            ),
        ] {
            let mut url = Url::parse(template).unwrap();
            secrets.fill_in(&mut url).unwrap();
            assert_eq!(url.as_str(), expected);
            assert!(!secrets.redact(expected).contains("dhaV"), "{expected}");
        }
        for unusable in ["a/b", "a?b", "a#b", "a b", "a\"b"] {
            fs::write(&file, unusable).unwrap();
            let error = Secrets::read(&[], Some(&file)).unwrap_err();
            assert!(error.message().contains("a part of a URL cannot contain"), "{error}");
        }
    }

    #[test]
    fn secrets_in_a_message_are_redacted() {
        let (whole, _a) = header("Splunk token-1", Form::After(""));
        let (key, _b) = header("key-2", Form::After(""));
        let key = SecretHeader { name: HeaderName::from_static("x-key"), ..key };
        let secrets = Secrets::read(&[whole, key], None).unwrap();
        let message = secrets.redact("got Splunk token-1, \"token-1\" and key-2");
        assert_eq!(message, "got [secret], \"[secret]\" and [secret]");
        let (basic, _c) = header("password-3", Form::Basic { user: "ann".to_owned() });
        let secrets = Secrets::read(&[basic], None).unwrap();
        let encoded = STANDARD.encode("ann:password-3");
        let message = secrets.redact(&format!("ann:password-3, {encoded}"));
        assert_eq!(message, "ann:[secret], [secret]");
    }
}
