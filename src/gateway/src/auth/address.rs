//! The client's address, through proxies that the operator trusts.

use std::net::IpAddr;

/// The address of the client behind `peer`. `trusted` holds addresses and networks (`10.0.0.0/8`).
///
/// `X-Real-IP` comes first; else the last entry of `X-Forwarded-For` that is no trusted proxy: what stands before it was
/// written by somebody else, who may lie.
pub(super) fn client<'a>(peer: IpAddr, real_ip: Option<&str>, forwarded_for: impl Iterator<Item = &'a str>, trusted: &[String]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| contains(network, ip));
    if !is_trusted(peer) {
        return peer;
    }
    if let Some(ip) = real_ip.and_then(parse) {
        return ip;
    }
    let hops: Vec<&str> = forwarded_for.flat_map(|value| value.split(',')).collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Some(ip) = parse(hop) else { break };
        client = ip;
        if !is_trusted(ip) {
            break;
        }
    }
    client
}

/// The addresses of machines in Tailscale networks.
const TAILNET: [&str; 2] = ["100.64.0.0/10", "fd7a:115c:a1e0::/48"];

/// The address of a client in the machine's Tailscale network, if the program that is in it passed the request on. It writes the
/// list anew, so that the last entry is its own. Another program of this machine can write one as well, and so choose among
/// addresses; it can do so among those of loopback anyway.
pub(super) fn in_tailnet<'a>(peer: IpAddr, forwarded_for: impl Iterator<Item = &'a str>) -> Option<IpAddr> {
    if !peer.to_canonical().is_loopback() {
        return None;
    }
    let client = parse(forwarded_for.flat_map(|value| value.split(',')).last()?)?;
    TAILNET.iter().any(|network| contains(network, client)).then_some(client)
}

fn parse(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn contains(network: &str, ip: IpAddr) -> bool {
    let (address, prefix) = network.split_once('/').map_or((network, None), |(address, prefix)| (address, Some(prefix)));
    let Some(address) = parse(address) else { return false };
    let full = if address.is_ipv4() { 32 } else { 128 };
    let Ok(prefix) = prefix.map_or(Ok(full), |prefix| prefix.trim().parse::<u32>()) else { return false };
    if address.is_ipv4() != ip.is_ipv4() || prefix > full {
        return false;
    }
    // Both as 128 bits, so that one comparison serves both families.
    let shift = full - prefix;
    bits(address).checked_shr(shift).unwrap_or(0) == bits(ip).checked_shr(shift).unwrap_or(0)
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client_of(peer: &str, real_ip: Option<&str>, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|network| (*network).to_owned()).collect();
        client(peer.parse().unwrap(), real_ip, forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn headers_of_a_stranger_are_not_believed() {
        assert_eq!(client_of("203.0.113.9", Some("10.0.0.1"), &["10.0.0.1"], &["127.0.0.1"]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        assert_eq!(client_of("127.0.0.1", Some("203.0.113.9"), &[], &["127.0.0.1"]), "203.0.113.9");
        assert_eq!(client_of("::ffff:127.0.0.1", None, &["203.0.113.9"], &["127.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn what_the_client_itself_put_into_the_list_is_ignored() {
        assert_eq!(client_of("10.0.0.2", None, &["1.1.1.1, 203.0.113.9", "10.0.0.1"], &["10.0.0.0/24"]), "203.0.113.9");
    }

    #[test]
    fn a_list_of_nonsense_names_the_last_known_hop() {
        assert_eq!(client_of("10.0.0.2", None, &["unknown, 10.0.0.1"], &["10.0.0.0/24"]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.2", None, &[], &["10.0.0.0/24"]), "10.0.0.2");
    }

    #[test]
    fn a_client_in_the_tailnet_is_named_by_the_program_that_is_in_it() {
        let named = |peer: &str, forwarded: &[&str]| in_tailnet(peer.parse().unwrap(), forwarded.iter().copied()).map(|ip| ip.to_string());
        assert_eq!(named("127.0.0.1", &["100.101.102.103"]).as_deref(), Some("100.101.102.103"));
        assert_eq!(named("::1", &["127.0.0.1", "10.0.0.1, fd7a:115c:a1e0::5"]).as_deref(), Some("fd7a:115c:a1e0::5"));
        assert_eq!(named("203.0.113.9", &["100.101.102.103"]), None, "it is on this machine");
        for forwarded in [&["127.0.0.1"][..], &["10.0.0.1"], &["100.128.0.1"], &["100.101.102.103, unknown"], &[]] {
            assert_eq!(named("127.0.0.1", forwarded), None, "{forwarded:?}");
        }
    }

    #[test]
    fn networks_are_matched_by_their_prefix() {
        assert!(contains("10.0.0.0/8", "10.255.0.1".parse().unwrap()));
        assert!(!contains("10.0.0.0/8", "11.0.0.1".parse().unwrap()));
        assert!(contains("fd00::/8", "fd12::1".parse().unwrap()));
        assert!(contains("0.0.0.0/0", "8.8.8.8".parse().unwrap()));
        assert!(!contains("0.0.0.0/0", "::1".parse().unwrap()));
        assert!(!contains("10.0.0.0/33", "10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_list_of_networks_makes_it_panic(network in ".{0,40}", hop in ".{0,40}") {
            client_of("10.0.0.2", Some(&hop), &[&hop], &[&network, "10.0.0.0/24"]);
        }
    }
}
