//! Where a request came from: proxies, and those who pretend to be some.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::connect_info::MockConnectInfo;
use axum::routing::get;
use threadline::ActorRef;
use threadline::web::{AuditLayer, TrustedProxies};
use tower::ServiceExt;

use super::{Capabilities, anonymous, seen};

const FORWARDED: &str = "x-forwarded-for";

fn networks() -> TrustedProxies {
    let networks = ["10.0.0.0/8", "192.168.1.1/32", "fd00::/8"];
    TrustedProxies::networks(networks.map(|network| network.parse().expect("a network")))
}

/// Checks the address of the client, given a peer and the lines of the header.
#[track_caller]
fn check(proxies: &TrustedProxies, peer: Option<&str>, lines: &[&str], client: Option<&str>) {
    let mut asked = Capabilities {
        proxies: proxies.clone(),
        ..Capabilities::default()
    };
    if let Some(peer) = peer {
        asked = asked.from(peer);
    }
    for line in lines {
        asked = asked.header(FORWARDED, line);
    }
    let expected = match client {
        Some(client) => anonymous().remote_ip(client.parse().expect("an address")),
        None => anonymous(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let shown = format!("{asked:?}");
    assert_eq!(runtime.block_on(asked.context()), expected, "{shown}");
}

/// Unless told otherwise, the client is the peer, and no header about it is believed.
#[test]
fn nobody_is_trusted() {
    let nobody = TrustedProxies::default();
    let peer = Some("198.51.100.1:4711");
    check(&nobody, peer, &[], Some("198.51.100.1"));
    check(&nobody, peer, &["203.0.113.7"], Some("198.51.100.1"));
    check(
        &nobody,
        Some("127.0.0.1:80"),
        &["203.0.113.7"],
        Some("127.0.0.1"),
    );
    check(&nobody, None, &["203.0.113.7"], None);
    check(&nobody, Some("[2001:db8::7]:1"), &[], Some("2001:db8::7"));
}

/// Other headers that name an address are believed from nobody.
#[tokio::test]
async fn other_headers() {
    let mut asked = Capabilities {
        proxies: networks(),
        ..Capabilities::default()
    }
    .from("10.0.0.1:1");
    for name in [
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "remote-addr",
    ] {
        asked = asked.header(name, "203.0.113.7");
    }
    let expected = anonymous().remote_ip([10, 0, 0, 1].into());
    assert_eq!(asked.context().await, expected);
}

/// A peer outside of the networks is the client, whatever it says of others.
#[test]
fn untrusted_peer() {
    let peer = Some("198.51.100.1:4711");
    check(&networks(), peer, &["203.0.113.7"], Some("198.51.100.1"));
    check(
        &networks(),
        peer,
        &["203.0.113.7, 10.0.0.1"],
        Some("198.51.100.1"),
    );
    check(&networks(), peer, &["garbage"], Some("198.51.100.1"));
    // Who has no address, cannot be trusted for it.
    check(&networks(), None, &["203.0.113.7"], None);
}

/// Behind trusted proxies the client is the first untrusted address from the right: what it made up is further left.
#[test]
fn trusted_chain() {
    let peer = Some("10.0.0.1:4711");
    check(&networks(), peer, &[], Some("10.0.0.1"));
    check(&networks(), peer, &["203.0.113.7"], Some("203.0.113.7"));
    check(
        &networks(),
        peer,
        &["203.0.113.7, 192.168.1.1,10.2.3.4"],
        Some("203.0.113.7"),
    );
    check(
        &networks(),
        peer,
        &["127.0.0.1, 10.9.9.9, 203.0.113.7, 10.2.3.4"],
        Some("203.0.113.7"),
    );
    check(
        &networks(),
        peer,
        &["garbage, 203.0.113.7"],
        Some("203.0.113.7"),
    );
    // In the network's neighbourhood, and not in it.
    check(
        &networks(),
        peer,
        &["203.0.113.7, 192.168.1.2"],
        Some("192.168.1.2"),
    );
    // All are trusted: the request began at the first of them.
    check(&networks(), peer, &["10.3.3.3, 10.2.2.2"], Some("10.3.3.3"));
}

/// Several lines of the header are one list, in their order.
#[test]
fn several_lines() {
    let peer = Some("10.0.0.1:4711");
    check(
        &networks(),
        peer,
        &["1.1.1.1", "203.0.113.7", "10.2.2.2"],
        Some("203.0.113.7"),
    );
    check(
        &networks(),
        peer,
        &["1.1.1.1, 203.0.113.7", "10.2.2.2, 10.3.3.3"],
        Some("203.0.113.7"),
    );
    check(
        &TrustedProxies::hops(3),
        peer,
        &["1.1.1.1, 2.2.2.2", "3.3.3.3,4.4.4.4"],
        Some("2.2.2.2"),
    );
}

/// An entry that is no address ends the walk at the last one that was good.
#[test]
fn malformed_entries() {
    let peer = Some("10.0.0.1:4711");
    for entry in [
        "",
        " ",
        "unknown",
        "_hidden",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.07",
        "0x7f.1",
        "1.1.1.1 2.2.2.2",
        "203.0.113.7:",
        "203.0.113.7:99999",
        "203.0.113.7:http",
        "[203.0.113.7]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[]",
        "[[::1]]",
        "2001:db8:::1",
        "fe80::1%eth0",
        "\"203.0.113.7\"",
        "for=203.0.113.7",
        "10.0.0.0/8",
        "localhost",
        "ä",
    ] {
        check(
            &networks(),
            peer,
            &[&format!("1.1.1.1, {entry}")],
            Some("10.0.0.1"),
        );
        check(
            &networks(),
            peer,
            &[&format!("1.1.1.1, {entry}, 10.2.2.2")],
            Some("10.2.2.2"),
        );
        check(
            &networks(),
            peer,
            &[&format!("1.1.1.1, {entry}, 2.2.2.2, 10.2.2.2")],
            Some("2.2.2.2"),
        );
        check(
            &TrustedProxies::hops(2),
            peer,
            &[&format!("1.1.1.1, {entry}")],
            Some("10.0.0.1"),
        );
        check(
            &TrustedProxies::hops(3),
            None,
            &[&format!("1.1.1.1, {entry}, 2.2.2.2")],
            Some("2.2.2.2"),
        );
        check(
            &TrustedProxies::hops(1),
            None,
            &[&format!("1.1.1.1, {entry}")],
            None,
        );
    }
}

/// Ports and brackets are taken off, and an IPv4 address in IPv6 clothes is the IPv4 address.
#[test]
fn notations() {
    let peer = Some("10.0.0.1:4711");
    for (entry, client) in [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("\t192.0.2.1\t", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("192.0.2.1, [fd00::1]:80", "192.0.2.1"),
        ("192.0.2.1, ::ffff:10.1.1.1", "192.0.2.1"),
    ] {
        check(&networks(), peer, &[entry], Some(client));
    }
    // Servers that listen on IPv6 show IPv4 peers in that form.
    let mapped = Some("[::ffff:10.0.0.1]:4711");
    check(&networks(), mapped, &["192.0.2.1"], Some("192.0.2.1"));
    check(&TrustedProxies::default(), mapped, &[], Some("10.0.0.1"));
    let outside = Some("[::ffff:198.51.100.1]:4711");
    check(&networks(), outside, &["192.0.2.1"], Some("198.51.100.1"));
}

/// A number of hops counts from the right, with or without an address of the peer.
#[test]
fn hops() {
    for peer in [None, Some("198.51.100.1:1")] {
        let list = ["6.6.6.6, 203.0.113.7, 2.2.2.2"];
        check(&TrustedProxies::hops(1), peer, &list, Some("2.2.2.2"));
        check(&TrustedProxies::hops(2), peer, &list, Some("203.0.113.7"));
        check(&TrustedProxies::hops(9), peer, &list, Some("6.6.6.6"));
        check(
            &TrustedProxies::hops(usize::MAX),
            peer,
            &list,
            Some("6.6.6.6"),
        );
        let peer_itself = peer.map(|_| "198.51.100.1");
        check(&TrustedProxies::hops(0), peer, &list, peer_itself);
        check(&TrustedProxies::hops(2), peer, &[], peer_itself);
    }
}

/// The peer that axum's own tests pretend is one too.
#[tokio::test]
async fn mocked_peer() {
    let peer: SocketAddr = ([192, 0, 2, 7], 80).into();
    let app = Router::new()
        .route("/", get(seen))
        .layer(AuditLayer::new(|_| ActorRef::anonymous()))
        .layer(MockConnectInfo(peer));
    let response = app
        .oneshot(Capabilities::default().for_axum())
        .await
        .unwrap();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await;
    let ctx: threadline::AuditContext = serde_json::from_slice(&body.unwrap()).unwrap();
    let expected: IpAddr = [192, 0, 2, 7].into();
    assert_eq!(ctx, anonymous().remote_ip(expected));
}
