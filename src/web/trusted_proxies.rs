use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Whose word is taken for where a request came from. By default nobody's: the client is the peer of the connection.
///
/// Every proxy adds the address that it was called from to the right end of `X-Forwarded-For`. What is further left came with the request, and
/// a client writes there what it likes. So the header is read from the right, and only as far as trusted hands wrote it.
///
/// Several lines of the header are one list. An entry may carry a port, and an IPv6 address brackets; an IPv4 address
/// in the clothes of IPv6 (`::ffff:192.0.2.7`) is taken for what it is. An entry that is no address ends the reading,
/// at the last address that was good.
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
    /// The client is the `hops`th address from the right: for a known number of proxies with unknown addresses, also
    /// behind a Unix socket, where the peer has none.
    ///
    /// The way through all of them must be the only one to the server, and the number must be right: with one too many, a
    /// client chooses its address. When there are fewer entries, the client is the leftmost.
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

    /// The proxies have addresses in these networks. The client is the first address from the right that is in none.
    ///
    /// Name the proxies and no more: every other machine in these networks can choose the address that is recorded of it.
    /// Addresses are compared as what they are, so a network of IPv4 addresses is written as one (`10.0.5.0/28`).
    ///
    /// Without an address of the peer, nobody is known to be trusted. When all addresses are trusted, the client is the
    /// leftmost.
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

    /// The client, given the peer of the connection and the lines of `X-Forwarded-For`.
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

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:80`.
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
