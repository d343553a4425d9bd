//! Which addresses a source may be at: a server on the internet must not make this machine talk to its own network.
//!
//! The name is looked up once, every address is checked, and the connection goes to a checked one, so a name that
//! changes its mind in between gains nothing. Redirections pass through the same check.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// What kind of address something is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// On the internet.
    Public,
    /// On a network of the user's.
    Private,
    /// This machine.
    Loopback,
    /// Nothing that holds models: link-local (where clouds keep their metadata), multicast, unspecified.
    Never,
}

impl AddressKind {
    /// Classifies an address; one that wraps an IPv4 address is what that is.
    pub(crate) fn of(address: IpAddr) -> AddressKind {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    fn words(self) -> &'static str {
        match self {
            AddressKind::Public => "a public address",
            AddressKind::Private => "a private address",
            AddressKind::Loopback => "this machine",
            AddressKind::Never => "an address that no model comes from",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    let [a, b, ..] = address.octets();
    if address.is_loopback() {
        AddressKind::Loopback
    } else if a == 0 || address.is_link_local() || address.is_multicast() || a >= 240 {
        AddressKind::Never
    } else if address.is_private() || (a == 100 && (64..128).contains(&b)) || (a == 198 && (b == 18 || b == 19)) {
        // RFC 1918, carrier-grade NAT (RFC 6598), benchmarks (RFC 2544).
        AddressKind::Private
    } else {
        AddressKind::Public
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    let segments = address.segments();
    if address.is_loopback() {
        return AddressKind::Loopback;
    }
    // `::ffff:a.b.c.d`, `::a.b.c.d` and the NAT64 prefix `64:ff9b::/96` all lead to an IPv4 address.
    let is_mapped = segments[..5] == [0; 5] && (segments[5] == 0xffff || segments[5] == 0);
    if is_mapped || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return of_v4(Ipv4Addr::new(a, b, c, d));
    }
    match segments[0] {
        first if first & 0xfe00 == 0xfc00 => AddressKind::Private,
        first if first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00 => AddressKind::Never,
        _ => AddressKind::Public,
    }
}

/// What a client may connect to, beside public addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressRule {
    pub(crate) is_loopback_allowed: bool,
    pub(crate) is_private_allowed: bool,
    /// Host and port of the proxy, which the user has chosen and which may be anywhere.
    pub(crate) proxy: Option<String>,
}

impl AddressRule {
    fn allows(&self, kind: AddressKind) -> bool {
        match kind {
            AddressKind::Public => true,
            AddressKind::Private => self.is_private_allowed,
            AddressKind::Loopback => self.is_loopback_allowed,
            AddressKind::Never => false,
        }
    }
}

/// The refusal as it travels through the HTTP client.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) address: IpAddr,
    pub(crate) kind: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}", self.address, self.kind)
    }
}

impl std::error::Error for Refused {}

/// Looks names up and lets through what the rule allows.
#[derive(Debug, Default)]
pub(crate) struct CheckedResolver {
    pub(crate) rule: AddressRule,
    pub(crate) inner: DefaultResolver,
}

impl Resolver for CheckedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.inner.resolve(uri, config, timeout)?;
        let is_proxy = self.rule.proxy.is_some() && self.rule.proxy.as_deref() == uri.authority().map(|a| a.as_str());
        for address in addresses.iter().map(|address| address.ip()) {
            let kind = AddressKind::of(address);
            if !is_proxy && !self.rule.allows(kind) {
                return Err(ureq::Error::Io(io::Error::other(Refused { address, kind: kind.words() })));
            }
        }
        Ok(addresses)
    }
}

/// Whether a URL names this machine in so many words; a name that merely resolves to it does not count.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| AddressKind::of(address) == AddressKind::Loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_kinds_of_addresses_apart() {
        use AddressKind::{Loopback, Never, Private, Public};
        for (text, kind) in [
            ("1.1.1.1", Public),
            ("127.0.0.1", Loopback),
            ("127.9.9.9", Loopback),
            ("10.1.2.3", Private),
            ("172.16.0.1", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.128.0.1", Public),
            ("169.254.169.254", Never),
            ("0.0.0.0", Never),
            ("0.1.2.3", Never),
            ("224.0.0.1", Never),
            ("255.255.255.255", Never),
            ("::1", Loopback),
            ("::", Never),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", Never),
            ("::10.0.0.1", Private),
            ("64:ff9b::a9fe:a9fe", Never),
            ("fd00::1", Private),
            ("fe80::1", Never),
            ("ff02::1", Never),
            ("2606:4700::1111", Public),
        ] {
            assert_eq!(AddressKind::of(text.parse().expect(text)), kind, "{text}");
        }
    }

    #[test]
    fn this_machine_is_named_not_looked_up() {
        for (host, is) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("localhost.evil.example", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_this_machine(host), is, "{host}");
        }
    }
}
