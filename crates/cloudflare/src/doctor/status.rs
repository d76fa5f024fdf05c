//! What a status means to a Logpush job, and what to do.

use crate::destination::Scheme;

/// Advice for a status that is no success. `location`: where the answer points to.
pub(super) fn advice(status: u16, location: Option<&str>, scheme: Scheme) -> String {
    match status {
        301 | 307 | 308 if location.is_some() => format!(
            "Cloudflare follows no redirect: write the address that it leads to, {}",
            location.unwrap_or_default()
        ),
        300..=399 => String::from(
            "Cloudflare follows no redirect. If it leads to a login, as of Cloudflare Access, let the path bypass \
             it, or add header_CF-Access-Client-Id and header_CF-Access-Client-Secret",
        ),
        400 => "the receiver cannot read the request: see what it says, and its log".to_owned(),
        401 if scheme == Scheme::Splunk => {
            "write header_Authorization=Splunk%20TOKEN with a token that the receiver knows"
                .to_owned()
        }
        401 => String::from(
            "no or a wrong secret: compare header_... with endpoint.NAME.secret_header and secret_file, and \
             percent-encode its value; the daemon reads a changed file at SIGHUP",
        ),
        403 if scheme == Scheme::Splunk => {
            "the token is not known or not enabled: see what the receiver says".to_owned()
        }
        403 => String::from(
            "the source address or the secret is refused: this machine is not Cloudflare, so endpoint.NAME.allow_from \
             may be right; if a firewall for web applications stands in front, let the path pass",
        ),
        404 => "nothing is at this path: compare it with endpoint.NAME.path".to_owned(),
        405 => String::from(
            "what is at this path takes no POST: mostly the path is wrong, and leads to a web page",
        ),
        408 => "the body did not arrive in time: look for a slow or broken way to the receiver"
            .to_owned(),
        411 => "the receiver, or a proxy, wants a Content-Length".to_owned(),
        413 => String::from(
            "even this small body is too large: raise the receiver's limit, and that of a proxy in front \
             (client_max_body_size of nginx)",
        ),
        415 => String::from(
            "the receiver takes no such body: it must take Content-Encoding: gzip; if it wants a Content-Type, add \
             header_Content-Type=application%2Fjson",
        ),
        421 => "a proxy does not serve this name: tell it the name".to_owned(),
        429 => "there are too many requests: raise the receiver's limit".to_owned(),
        500 => "the receiver has a defect: see its log".to_owned(),
        502 | 504 => {
            "a proxy in front does not reach the receiver: see that it runs, and the proxy's log"
                .to_owned()
        }
        503 => "it cannot store now: see what it says, its /readyz and its log".to_owned(),
        520..=530 => String::from(
            "Cloudflare's own proxy in front does not reach the receiver: see the error's number in its \
             documentation, or switch the proxy off for this name",
        ),
        _ => "any answer but 200 counts as a failure: see what it says, and the receiver's log"
            .to_owned(),
    }
}
