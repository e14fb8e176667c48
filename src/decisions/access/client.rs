//! Whose request it is that Traefik asks about: the address that guesses are counted for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::AccessPolicy;

/// So many addresses of a chain are read: more of them are somebody's invention.
const HOPS_MAX: usize = 32;

/// The address of the client: `X-Forwarded-For` read from its end, past those proxies that are trusted. What is
/// further to the left is the client's own writing and says nothing. The peer, where nothing can be read.
pub fn address<'r>(
    policy: &AccessPolicy,
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'r [u8]>,
) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !policy.trusts(nearest) {
        return nearest;
    }
    let hops = forwarded_for
        .rev()
        .flat_map(|value| value.rsplit(|b| *b == b','))
        .take(HOPS_MAX);
    for hop in hops {
        let Some(hop) = parse(hop) else {
            break;
        };
        nearest = hop;
        if !policy.trusts(hop) {
            break;
        }
    }
    nearest
}

/// What counts as one client: an address of IPv4, a network of 64 bits of IPv6, as one line gets it whole.
pub fn origin_of_guesses(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|at| at.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "::1/128", "127.0.0.0/8"].map(|n| n.parse().unwrap());
        let policy = AccessPolicy::new(&trusted, &[]);
        let values = values.iter().map(|value| value.as_bytes());
        address(&policy, peer.parse().unwrap(), values).to_string()
    }

    #[test]
    fn it_is_the_last_one_that_no_trusted_proxy_is() {
        for (peer, values, expected) in [
            ("10.0.0.1", &["203.0.113.7"][..], "203.0.113.7"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.7"], "203.0.113.7"),
            (
                "10.0.0.1",
                &["1.2.3.4, 203.0.113.7, 10.0.0.2"],
                "203.0.113.7",
            ),
            ("10.0.0.1", &["203.0.113.7:4711,10.0.0.2"], "203.0.113.7"),
            ("::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            // All are trusted: the furthest of them.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Nothing, or nothing that can be read: what was read so far.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, x, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            // Nobody asked this one.
            ("198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
        ] {
            assert_eq!(seen(peer, values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_line_s_whole_network_is_one_client() {
        let of = |text: &str| origin_of_guesses(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:ffff::1"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
    }

    proptest! {
        /// Whatever a client writes itself, the address that its own proxy saw stays the one that counts.
        #[test]
        fn nothing_a_client_writes_changes_who_it_is(
            lies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        ) {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let policy = AccessPolicy::new(&trusted, &[]);
            let mut values = lies;
            values.push(b"203.0.113.7, 10.0.0.2".to_vec());
            let values = values.iter().map(Vec::as_slice);
            let address = address(&policy, "10.0.0.1".parse().unwrap(), values);
            prop_assert_eq!(address.to_string(), "203.0.113.7");
        }
    }
}
