use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The proxies that are trusted to say where a request came from. By default none is, and the
/// client is the peer of the connection.
///
/// Every proxy appends the address of its caller to the right end of `X-Forwarded-For`. Entries
/// further left came with the request, and a client can write anything there. The header is
/// therefore read from the right, and only as far as trusted proxies wrote it.
///
/// Several lines of the header form one list. An entry may include a port, and an IPv6 address may
/// be in brackets. An IPv4-mapped IPv6 address (`::ffff:192.0.2.7`) counts as its IPv4 address.
/// Reading stops at an entry that is not an address, and the last valid address is used.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Trust);

#[derive(Debug, Clone, Default)]
enum Trust {
    Hops(usize),
    Networks(Vec<IpNet>),
    #[default]
    Nobody,
}

impl TrustedProxies {
    /// Trusts a known number of proxies with unknown addresses: the client is the `hops`th address
    /// from the right. This also works behind a Unix socket, where the peer has no address.
    ///
    /// Every path to the server must lead through all of these proxies, and the number must be
    /// right: if it is one too high, a client can choose its address. If there are fewer entries,
    /// the client is the leftmost one.
    ///
    /// # Example
    ///
    /// ```
    /// # use threadline::ActorRef;
    /// use threadline::web::{AuditLayer, TrustedProxies};
    ///
    /// # fn layer() -> AuditLayer<axum::response::Response> {
    /// # AuditLayer::new(|_| ActorRef::anonymous())
    /// .trusted_proxies(TrustedProxies::hops(1))
    /// # }
    /// ```
    pub fn hops(hops: usize) -> Self {
        Self(Trust::Hops(hops))
    }

    /// Trusts proxies with addresses in these networks. The client is the first address from the
    /// right that is in none of them.
    ///
    /// List the proxies and nothing else: any other machine in these networks can choose the
    /// address that is recorded for it. IPv4 addresses are compared as IPv4, so write an IPv4
    /// network as such (`10.0.5.0/28`).
    ///
    /// If the address of the peer is unknown, no proxy is trusted. If all addresses are trusted,
    /// the client is the leftmost one.
    ///
    /// # Example
    ///
    /// ```
    /// # use threadline::ActorRef;
    /// use threadline::web::{AuditLayer, TrustedProxies};
    ///
    /// # fn layer() -> Result<AuditLayer<axum::response::Response>, Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::networks(["10.0.5.0/28".parse()?, "fd00:5::/64".parse()?]);
    /// # Ok(AuditLayer::new(|_| ActorRef::anonymous()).trusted_proxies(proxies))
    /// # }
    /// ```
    pub fn networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(Trust::Networks(networks.into_iter().collect()))
    }

    /// Returns the client, given the peer of the connection and the lines of `X-Forwarded-For`.
    pub(super) fn client(&self, peer: Option<IpAddr>, forwarded: &[&[u8]]) -> Option<IpAddr> {
        let peer = peer.map(|peer| peer.to_canonical());
        let mut from_the_right = forwarded
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|byte| *byte == b','))
            .map_while(address);
        match &self.0 {
            Trust::Hops(hops) => from_the_right.take(*hops).last().or(peer),
            Trust::Networks(networks) => {
                let trusted =
                    |client: &IpAddr| networks.iter().any(|network| network.contains(client));
                let mut client = peer?;
                while trusted(&client) {
                    let Some(before) = from_the_right.next() else {
                        break;
                    };
                    client = before;
                }
                Some(client)
            }
            Trust::Nobody => peer,
        }
    }
}

/// Parses `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match in_brackets {
        Some(text) => text.parse::<Ipv6Addr>().ok()?.into(),
        None => text
            .parse::<IpAddr>()
            .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
            .ok()?,
    };
    Some(address.to_canonical())
}
