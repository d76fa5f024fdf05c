//! Explains the HTTP status of a refused request.

use crate::destination::Scheme;

/// Returns what to do about an error status. `location` is the target of a redirect.
pub(super) fn advice(status: u16, location: Option<&str>, scheme: Scheme) -> String {
    match status {
        301 | 307 | 308 if location.is_some() => format!(
            "Cloudflare does not follow redirects: use the target as the destination, {}",
            location.unwrap_or_default()
        ),
        300..=399 => String::from(
            "Cloudflare does not follow redirects. If Cloudflare Access or another login redirects, add a bypass \
             policy for the path, or header_CF-Access-Client-Id and header_CF-Access-Client-Secret",
        ),
        400 => {
            "the receiver considers the request malformed: see its answer and its log".to_owned()
        }
        401 if scheme == Scheme::Splunk => {
            "add header_Authorization=Splunk%20TOKEN with a token that the receiver accepts"
                .to_owned()
        }
        401 => String::from(
            "the secret is missing or wrong: compare header_... with endpoint.NAME.secret_header and secret_file, \
             and percent-encode its value; the daemon reads a changed file on SIGHUP",
        ),
        403 if scheme == Scheme::Splunk => {
            "the token is unknown or disabled: see the receiver's answer".to_owned()
        }
        403 => String::from(
            "the receiver refuses the source address or the secret: endpoint.NAME.allow_from may accept Cloudflare's \
             addresses but not this machine's; if a web application firewall is in front, allow the path",
        ),
        404 => {
            "the receiver has no endpoint at this path: compare it with endpoint.NAME.path".to_owned()
        }
        405 => String::from(
            "this path does not accept POST; it is probably that of a web page: compare it with endpoint.NAME.path",
        ),
        408 => "the body did not arrive in time: check the network to the receiver".to_owned(),
        411 => "the receiver or a proxy requires a Content-Length".to_owned(),
        413 => String::from(
            "even this small body is too large: raise the limit of the receiver, and of a proxy in front \
             (client_max_body_size of nginx)",
        ),
        415 => String::from(
            "the receiver must accept Content-Encoding: gzip; if it requires a Content-Type, add \
             header_Content-Type=application%2Fjson",
        ),
        421 => "a proxy does not serve this name: configure the name in the proxy".to_owned(),
        429 => "the receiver limits the rate of requests: raise its limit".to_owned(),
        500 => "the receiver failed internally: see its log".to_owned(),
        502 | 504 => {
            "a proxy in front cannot reach the receiver: check that it runs, and see the proxy's log"
                .to_owned()
        }
        503 => {
            "the receiver cannot store batches now: see its answer, its /readyz and its log".to_owned()
        }
        520..=530 => String::from(
            "Cloudflare's proxy in front cannot reach the receiver: look up the status in Cloudflare's \
             documentation, or turn the proxy off for this name",
        ),
        _ => "any status but 200 counts as a failure: see the receiver's answer and its log".to_owned(),
    }
}
