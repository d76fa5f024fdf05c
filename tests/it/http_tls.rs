//! TLS of sinks that send requests over HTTP: the authority, the client certificate and the name that
//! the sink's `tls` table sets.

use crate::support::{
    Setup,
    collector::Collector,
    numbered,
    tls::{Authority, Pair, server_config},
    wait_until,
};

/// A setup with the files that the `tls` tables name, and the sink `collector` with this `tls` table.
fn setup(collector: &Collector, authority: &Authority, client: &Pair, tls: &str) -> Setup {
    let url = format!("https://{}/in", collector.address);
    let setup =
        Setup::new().table("sink.collector.http", &format!("url = \"{url}\"\ntls = {{ {tls} }}"));
    setup.write("ca.pem", authority.pem());
    setup.write("client.pem", &client.cert);
    setup.write("client.key", &client.key);
    setup
}

#[test]
fn the_tls_table_sets_authority_client_certificate_and_name() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let client = clients.sign();
    let local = servers.sign_server();
    let other = servers.sign_server_named("collector.example");
    let identity = "cert_file = \"client.pem\", key_file = \"client.key\"";
    for (presented, asks, tls) in [
        (&local, false, "ca_file = \"ca.pem\"".to_owned()),
        (&local, true, format!("ca_file = \"ca.pem\", {identity}")),
        (&other, false, "ca_file = \"ca.pem\", server_name = \"collector.example\"".to_owned()),
    ] {
        let collector = Collector::start_tls(server_config(presented, asks.then_some(&clients)));
        let daemon = setup(&collector, &servers, &client, &tls).start();
        let records = numbered(1, 10);
        daemon.commit(&records);
        assert_eq!(collector.wait_lines(10).concat().as_bytes(), records, "{tls}");
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_failed_handshake_names_the_key_to_set() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let client = clients.sign();
    let local = servers.sign_server();
    let other = servers.sign_server_named("collector.example");
    for (presented, asks, tls, expected) in [
        (&local, false, "ca_file = \"client.pem\"", "no trusted authority vouches for"),
        (&local, true, "ca_file = \"ca.pem\"", "requires a client certificate"),
        (&other, false, "ca_file = \"ca.pem\"", "set tls.server_name"),
    ] {
        let collector = Collector::start_tls(server_config(presented, asks.then_some(&clients)));
        let daemon = setup(&collector, &servers, &client, tls).start();
        daemon.commit(&numbered(1, 10));
        // A server that refuses a client may close the connection before the client reads why.
        wait_until(expected, || {
            let lines = daemon.logged("the sink failed");
            lines.iter().any(|line| line.to_string().contains(expected))
        });
        assert!(collector.received().is_empty());
        drop(daemon.kill());
    }
}

/// An operator replaces the file; the daemon is not reloaded.
#[test]
fn a_replaced_authority_is_read_after_a_failed_connection() {
    let servers = Authority::new();
    let collector = Collector::start_tls(server_config(&servers.sign_server(), None));
    let client = servers.sign();
    let setup = setup(&collector, &Authority::new(), &client, "ca_file = \"ca.pem\"");
    let daemon = setup.start();
    let records = numbered(1, 10);
    daemon.commit(&records);
    daemon.wait_log("the sink failed");
    daemon.setup().write("ca.pem", servers.pem());
    assert_eq!(collector.wait_lines(10).concat().as_bytes(), records);
    daemon.stop().exited_cleanly();
}
