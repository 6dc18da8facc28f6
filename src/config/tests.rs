use proptest::prelude::*;

use super::*;

#[test]
fn listen_addresses_are_ports_or_sockets() {
    for (text, expected) in [
        (":7001", ListenAddr::Port(7001)),
        ("7001", ListenAddr::Port(7001)),
        (":0", ListenAddr::Port(0)),
        ("127.0.0.1:7001", ListenAddr::Socket("127.0.0.1:7001".parse().expect("an address"))),
        ("[::1]:7001", ListenAddr::Socket("[::1]:7001".parse().expect("an address"))),
        ("localhost:1", ListenAddr::Socket("127.0.0.1:1".parse().expect("an address"))),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for text in [":70000", "65536", "localhost:99999"] {
        assert!(matches!(text.parse::<ListenAddr>(), Err(AddressError::Port(_))), "{text}");
    }
    for text in ["", ":", "a:b", "host:80", "1.2.3.4", "::1:80:x"] {
        assert!(matches!(text.parse::<ListenAddr>(), Err(AddressError::Listen(_))), "{text}");
    }
}

#[test]
fn upstreams_are_hosts_ports_or_sockets() {
    let tcp = |host: &str, port| Ok(Upstream::Tcp { host: Host::from(host), port });
    let tls = |host: &str, port| Ok(Upstream::Tls { host: Host::from(host), port });
    for (text, expected) in [
        (":8000", tcp("", 8000)),
        ("8000", tcp("", 8000)),
        ("127.0.0.1:8000", tcp("127.0.0.1", 8000)),
        ("http://:8000", tcp("", 8000)),
        ("https://:8443", tls("", 8443)),
        ("app:8000", tcp("app", 8000)),
        ("http://app:8000", tcp("app", 8000)),
        ("http://app:8000/", tcp("app", 8000)),
        ("http://app", tcp("app", 80)),
        ("[::1]:8000", tcp("::1", 8000)),
        ("https://app:8443", tls("app", 8443)),
        ("https://app", tls("app", 443)),
        ("https://app/", tls("app", 443)),
        ("https://[::1]:8443", tls("::1", 8443)),
        ("unix:/run/app.sock", Ok(Upstream::Unix("/run/app.sock".into()))),
        ("unix:///run/app.sock", Ok(Upstream::Unix("/run/app.sock".into()))),
        ("unix:app.sock", Ok(Upstream::Unix("app.sock".into()))),
    ] {
        assert_eq!(text.parse(), expected, "{text}");
    }
    for text in [":70000", "app:0", "99999"] {
        assert!(matches!(text.parse::<Upstream>(), Err(AddressError::Port(_))), "{text}");
    }
    for text in
        ["", "app", "a b:1", "::1:80", "[x]:1", "unix:", "ftp://a:1", "a:+1", "http://", "https://"]
    {
        assert!(text.parse::<Upstream>().is_err(), "{text}");
    }
    assert!(matches!("http://a:1/b".parse::<Upstream>(), Err(AddressError::UpstreamPath(_))));
    assert!(matches!("https://a/b".parse::<Upstream>(), Err(AddressError::UpstreamPath(_))));
}

#[test]
fn an_upstream_is_named_as_it_was_given_and_requests_to_it_by_an_address() {
    for (text, shown, authority) in [
        (":8000", ":8000", "127.0.0.1:8000"),
        ("https://:8443", "https://:8443", "127.0.0.1:8443"),
        ("127.0.0.1:8000", "127.0.0.1:8000", "127.0.0.1:8000"),
        ("[::1]:8000", "[::1]:8000", "[::1]:8000"),
        ("http://app:8000", "app:8000", "app:8000"),
        ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
        ("https://app", "https://app:443", "app:443"),
        ("unix:/run/app.sock", "unix:/run/app.sock", "localhost"),
    ] {
        let upstream: Upstream = text.parse().expect("an upstream");
        assert_eq!((upstream.to_string(), upstream.authority()), (shown.into(), authority.into()));
    }
}

#[test]
fn forwarding_to_ourselves_is_found() {
    let loops = |upstream: &str, listen: &str| {
        let upstream: Upstream = upstream.parse().expect("an upstream");
        upstream.is_local(listen.parse().expect("an address"))
    };
    for (upstream, listen) in [
        (":7001", ":7001"),
        ("localhost:7001", ":7001"),
        ("https://localhost:7001", ":7001"),
        ("127.0.0.2:7001", ":7001"),
        ("[::1]:7001", "[::1]:7001"),
        (":7001", "[::1]:7001"),
        (":7001", "127.0.0.1:7001"),
        ("https://:7001", "[::1]:7001"),
        ("localhost:7001", "[::1]:7001"),
        ("0.0.0.0:7001", "127.0.0.1:7001"),
        ("[::ffff:127.0.0.1]:7001", "127.0.0.1:7001"),
    ] {
        assert!(loops(upstream, listen), "{upstream} {listen}");
    }
    for (upstream, listen) in [
        (":7000", ":7001"),
        ("app:7001", ":7001"),
        (":7001", "10.0.0.1:7001"),
        ("127.0.0.1:7001", "[::1]:7001"),
        ("127.0.0.1:7001", "10.0.0.1:7001"),
        ("unix:/7001", ":7001"),
    ] {
        assert!(!loops(upstream, listen), "{upstream} {listen}");
    }
}

#[test]
fn sizes_durations_and_methods_parse_or_say_why() {
    assert_eq!(parse_bytes("64KiB"), Ok(65536));
    assert_eq!(parse_bytes("1MiB"), Ok(1 << 20));
    assert_eq!(parse_bytes("100"), Ok(100));
    for text in ["", "x", "-1", "64GB", "99999999999999999999", "18446744073709551615KiB"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
    assert!(parse_duration("3").is_err() && parse_duration("-1s").is_err());
    assert_eq!(parse_duration("366days"), Ok(LONGEST));
    for text in
        ["367days", "18446744073709551616s", "18446744073709551615s", "9223372036854775808s"]
    {
        assert_eq!(parse_duration(text), Err(ConfigError::TooLong(text.to_owned())));
    }
    assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    assert_eq!(parse_some_time("0ms"), Err(ConfigError::NoTime("0ms".to_owned())));
    assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
    assert!(parse_methods("GET,PRO FIND").is_err());
    assert!(parse_methods("").is_err());
    assert!(parse_methods("GET, PROPFIND").is_ok());
}

#[test]
fn times_that_no_flag_accepts_are_refused_in_a_config_as_well() {
    let times = |time| Timeouts {
        connect: time,
        header: time,
        idle: time,
        response: Some(time),
        upstream_idle: time,
        shutdown_delay: time,
        shutdown: time,
    };
    let good = Duration::from_secs(1);
    assert_eq!(times(good).validate(), Ok(times(good)));
    assert_eq!(times(LONGEST).validate(), Ok(times(LONGEST)));
    for bad in [Duration::ZERO, LONGEST + Duration::from_nanos(1), Duration::MAX] {
        let refused = [
            Timeouts { connect: bad, ..times(good) },
            Timeouts { header: bad, ..times(good) },
            Timeouts { idle: bad, ..times(good) },
            Timeouts { response: Some(bad), ..times(good) },
            Timeouts { upstream_idle: bad, ..times(good) },
            Timeouts { shutdown_delay: bad, ..times(good) },
            Timeouts { shutdown: bad, ..times(good) },
        ];
        for (flag, times) in TIME_FLAGS.iter().zip(refused) {
            let is_good = bad.is_zero() && flag.zero != Zero::Refused;
            assert_eq!(times.validate().is_ok(), is_good, "{} {bad:?}", flag.name);
        }
    }
    let off = Timeouts { response: Some(Duration::ZERO), ..times(good) }.validate();
    assert_eq!(off.map(|times| times.response), Ok(None));
}

proptest! {
    #[test]
    fn any_text_is_an_address_or_an_error(text in ".{0,40}") {
        if let Ok(address) = text.parse::<ListenAddr>() {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
        if let Ok(upstream) = text.parse::<Upstream>() {
            prop_assert_eq!(upstream.to_string().parse(), Ok(upstream));
        }
        // Must not panic.
        drop((parse_bytes(&text), parse_duration(&text), parse_methods(&text)));
    }
}

#[test]
fn a_map_is_a_port_and_its_app() {
    let map: PortMap = ":7002=https://app:8443".parse().expect("a pair");
    assert_eq!(
        (map.listen.to_string(), map.upstream.to_string()),
        (":7002".into(), "https://app:8443".into())
    );
    assert_eq!(":7002".parse::<PortMap>(), Err(AddressError::Map(":7002".into())));
    assert!(matches!("x=:1".parse::<PortMap>(), Err(AddressError::Listen(_))));
    assert!(matches!(":1=x".parse::<PortMap>(), Err(AddressError::Upstream(_))));
}
