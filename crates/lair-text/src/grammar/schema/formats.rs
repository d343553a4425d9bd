//! The formats of strings that are enforced, as patterns. Each lets through what validators take, and may leave out some of it.

/// Date (RFC 3339, section 5.6 and appendix C): the 29th of February in years that are divisible by 4, and by 400 if by 100.
macro_rules! date {
    () => {
        concat!(
            r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
            r"|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
        )
    };
}
/// Time without leap seconds, which are at certain times only (RFC 3339, section 5.6).
macro_rules! time {
    () => {
        r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    };
}
/// Local parts of at most 64 bytes (RFC 5321, section 4.5.3.1.1).
const EMAIL: &str = concat!(
    r"^[A-Za-z0-9!#$%&'*+/=?^_{|}~-]{1,24}(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]{1,12}){0,3}",
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,20}$",
);
/// Four labels of letters, digits and single hyphens, so that none looks like a coded one (RFC 1123, section 2.1; RFC 5891).
const HOSTNAME: &str =
    r"^[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20}){0,2}(\.[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20}){0,2}){0,3}$";
macro_rules! ipv4 {
    () => {
        r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}
/// RFC 4291, section 2.2, without embedded addresses of version 4.
const IPV6: &str = concat!(
    r"^(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,6})?",
    r"|[0-9a-fA-F]{1,4}::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,5})?",
    r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){1}::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,4})?",
    r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){2}::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,3})?",
    r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){3}::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,2})?",
    r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){4}::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4})?)?",
    r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){5}::([0-9a-fA-F]{1,4})?|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){6}::)$",
);
/// RFC 3339, appendix A.
const DURATION: &str = concat!(
    r"^P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)",
    r"(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))$",
);
/// A character of a path (RFC 3986, section 3.3).
macro_rules! pchar {
    () => {
        r"([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
    };
}
macro_rules! query_and_fragment {
    () => {
        concat!(r"(\?(", pchar!(), r"|[/?])*)?(#(", pchar!(), r"|[/?])*)?")
    };
}
/// RFC 3986, section 3, with hosts that are names or addresses of version 4.
macro_rules! uri {
    () => {
        concat!(
            r"[A-Za-z][A-Za-z0-9+.-]*:(//(([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?[A-Za-z0-9.-]*(:[0-9]{1,5})?(/",
            pchar!(),
            r"*)*|/(",
            pchar!(),
            r"+(/",
            pchar!(),
            r"*)*)?|",
            pchar!(),
            r"+(/",
            pchar!(),
            r"*)*)",
            query_and_fragment!()
        )
    };
}
/// Adds paths without a scheme (RFC 3986, section 4.2), whose first part has no colon.
const URI_REFERENCE: &str = concat!(
    r"^(",
    uri!(),
    r"|/?([A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+(/",
    pchar!(),
    r"*)*",
    query_and_fragment!(),
    r"|#(",
    pchar!(),
    r"|[/?])*)$"
);
/// RFC 6570: literals, and expressions of names with operators.
const URI_TEMPLATE: &str =
    r"^([A-Za-z0-9._~:/?#@!$&()*+,;=-]|%[0-9A-Fa-f]{2}|\{[+#./;?&]?[A-Za-z0-9_]+\*?(,[A-Za-z0-9_]+\*?)*\})*$";
/// Expressions of letters, digits, classes and repetitions, which are expressions in every dialect.
const REGEX: &str = r"^\^?([A-Za-z0-9 _:;,@#%=<>~-]([*+?]|\{[1-9]\})?|\[[A-Za-z0-9_]+\][*+?]?|\\[dwsDWS.][*+?]?)*\$?$";

/// Formats with their patterns.
const FORMATS: &[(&str, &str)] = &[
    ("date-time", concat!("^", date!(), "[Tt]", time!(), "$")),
    ("time", concat!("^", time!(), "$")),
    ("date", concat!("^", date!(), "$")),
    ("duration", DURATION),
    ("email", EMAIL),
    ("idn-email", EMAIL),
    ("hostname", HOSTNAME),
    ("idn-hostname", HOSTNAME),
    ("ipv4", concat!("^", ipv4!(), "$")),
    ("ipv6", IPV6),
    ("uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
    ("uri", concat!("^", uri!(), "$")),
    ("iri", concat!("^", uri!(), "$")),
    ("uri-reference", URI_REFERENCE),
    ("iri-reference", URI_REFERENCE),
    ("uri-template", URI_TEMPLATE),
    // RFC 6901, section 3.
    ("json-pointer", "^(/([^/~\\x00-\\x1f]|~[01])*)*$"),
    // draft-bhutton-relative-json-pointer-00, section 3, without shifts of an index.
    ("relative-json-pointer", "^(0|[1-9][0-9]*)(#|(/([^/~\\x00-\\x1f]|~[01])*)*)$"),
    ("regex", REGEX),
];

/// The pattern of a format; nothing for those that the standard does not know.
pub(super) fn pattern_of(format: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(name, _)| *name == format).map(|(_, pattern)| *pattern)
}
