//! What files are accepted, what is said of the others, and how they are replaced.

use super::*;

fn identity(cert: PathBuf, key: PathBuf) -> Identity {
    Identity { cert, key, port: Port::Clients }
}

/// What `Listener::load` says of a certificate and a key.
fn refusal(cert: &str, key: &str) -> (String, Fault) {
    let scratch = Scratch::new();
    let identity = identity(scratch.write("cert.pem", cert), scratch.write("key.pem", key));
    let error = Listener::load(identity, None, BOTH, LIMIT).expect_err("an unusable pair");
    let text = error.to_string().replace(scratch.0.to_str().expect("a plain name"), "");
    (text, error.fault)
}

#[test]
fn every_pem_form_of_a_key_is_read() {
    let rsa_pkcs8 = include_str!("../../../../tests/data/keys/rsa.pkcs8.pem");
    let ec_pkcs8 = include_str!("../../../../tests/data/keys/ec.pkcs8.pem");
    for (pkcs8, other) in [
        (rsa_pkcs8, include_str!("../../../../tests/data/keys/rsa.pkcs1.pem")),
        (ec_pkcs8, include_str!("../../../../tests/data/keys/ec.sec1.pem")),
    ] {
        let pair = Pair::with_key(&KeyPair::from_pem(pkcs8).expect("a key"), 2020, 2099);
        for key in [pkcs8, other] {
            let scratch = Scratch::new();
            let pair = Pair { cert: pair.cert.clone(), key: key.to_owned() };
            let listener = listener(scratch.identity(&pair));
            assert_eq!(listener.not_after_seconds(), 4_070_908_800, "{key:.40}");
        }
    }
}

#[test]
fn certificate_and_key_may_be_one_file() {
    let (scratch, pair) = (Scratch::new(), Pair::valid());
    let both = scratch.write("both.pem", &format!("{}{}", pair.key, pair.cert));
    listener(identity(both.clone(), both));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_flag_and_the_reason() {
    let (pair, other) = (Pair::valid(), Pair::valid());
    let encrypted = include_str!("../../../../tests/data/keys/ec.encrypted.pem");
    let encrypted_sec1 = include_str!("../../../../tests/data/keys/ec.sec1.encrypted.pem");
    let cut = pair.cert.split_at(100).0;
    let two_keys = format!("{}{}", pair.key, other.key);
    let damaged = pair.cert.replace("MII", "M?I");
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let large = " ".repeat((1 << 20) + 1);
    for (cert, key, words) in [
        ("", &*pair.key, "--tls-cert /cert.pem: the file is empty"),
        ("hello", &pair.key, "--tls-cert /cert.pem: no certificate in it; give PEM"),
        (&pair.key, &pair.key, "--tls-cert /cert.pem: no certificate in it"),
        (&damaged, &pair.key, "--tls-cert /cert.pem: damaged PEM"),
        (not_der, &pair.key, "--tls-cert /cert.pem: not an X.509 certificate"),
        (&large, &pair.key, "--tls-cert /cert.pem: larger than 1 MiB"),
        (&pair.cert, "", "--tls-key /key.pem: the file is empty"),
        (&pair.cert, &pair.cert, "--tls-key /key.pem: no private key in it; give PEM"),
        (&pair.cert, encrypted, "--tls-key /key.pem: the key is encrypted; decrypt it"),
        (&pair.cert, encrypted_sec1, "--tls-key /key.pem: the key is encrypted; decrypt it"),
        (cut, &pair.key, "--tls-cert /cert.pem: damaged PEM: the end of `CERTIFICATE` is missing"),
        (&pair.cert, &two_keys, "--tls-key /key.pem: 2 private keys in it"),
        (&pair.cert, &other.key, "--tls-key /key.pem: not the private key of --tls-cert /cert.pem"),
    ] {
        let (text, _) = refusal(cert, key);
        assert!(text.starts_with(words), "{text}");
    }
}

#[test]
fn a_missing_file_is_named_with_the_kernels_reason() {
    let scratch = Scratch::new();
    let mut identity = scratch.identity(&Pair::valid());
    identity.cert = "/nonexistent/cert.pem".into();
    let error = Listener::load(identity, None, BOTH, LIMIT).expect_err("no file");
    let words = "--tls-cert /nonexistent/cert.pem: cannot be read: No such file";
    assert!(error.to_string().starts_with(words), "{error}");
}

#[test]
fn a_certificate_out_of_its_time_is_refused_with_the_date() {
    let (early, late) = (Pair::between(2090, 2099), Pair::between(2020, 2021));
    let (text, fault) = refusal(&late.cert, &late.key);
    assert!(matches!(fault, Fault::Expired(_)));
    assert!(text.contains("/cert.pem: the certificate expired at 2021-01-01T00:00:00Z"), "{text}");
    let (text, fault) = refusal(&early.cert, &early.key);
    assert!(matches!(fault, Fault::NotYetValid(_)));
    assert!(text.contains("is not valid before 2090-01-01T00:00:00Z"), "{text}");
}

#[test]
fn dates_are_checked_to_the_second() {
    let scratch = Scratch::new();
    let identity = scratch.identity(&Pair::between(2020, 2021));
    let (begin, end) = (1_577_836_800, 1_609_459_200);
    let fault = |now| files::load(&identity, now).map(drop).map_err(|error| error.fault);
    assert!(matches!(fault(begin - 1), Err(Fault::NotYetValid(Date(at))) if at == begin));
    assert!(fault(begin).is_ok() && fault(end).is_ok());
    assert!(matches!(fault(end + 1), Err(Fault::Expired(Date(at))) if at == end));
}

#[test]
fn changed_files_are_taken_over_once() {
    let scratch = Scratch::new();
    let listener = listener(scratch.identity(&Pair::between(2020, 2098)));
    assert_eq!(listener.reload(), Reload::Unchanged);
    scratch.identity(&Pair::between(2020, 2099));
    assert_eq!(listener.reload(), Reload::Replaced);
    assert_eq!(listener.not_after_seconds(), 4_070_908_800);
    assert_eq!(listener.reload(), Reload::Unchanged);
}

#[test]
fn a_swapped_symbolic_link_is_a_change() {
    let scratch = Scratch::new();
    for (name, until) in [("old", 2098), ("new-data", 2099)] {
        let pair = Pair::between(2020, until);
        let directory = scratch.0.join(name);
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join("tls.crt"), pair.cert).expect("a file");
        std::fs::write(directory.join("tls.key"), pair.key).expect("a file");
    }
    // As Kubernetes mounts a secret: the link of the directory is replaced by a rename.
    let data = scratch.0.join("..data");
    std::os::unix::fs::symlink("old", &data).expect("a link");
    let listener = listener(identity(data.join("tls.crt"), data.join("tls.key")));
    let beside = scratch.0.join("..data_tmp");
    std::os::unix::fs::symlink("new-data", &beside).expect("a link");
    std::fs::rename(beside, data).expect("the same directory");
    assert_eq!(listener.reload(), Reload::Replaced);
    assert_eq!(listener.not_after_seconds(), 4_070_908_800);
}

#[test]
fn a_reload_that_fails_keeps_the_old_certificate_and_shows() {
    let (scratch, old) = (Scratch::new(), Pair::between(2020, 2098));
    let identity = scratch.identity(&old);
    let listener = listener(identity.clone());
    let expired = Pair::between(2020, 2021);
    let breaks: [&dyn Fn(); 4] = [
        // The certificate is written, its key not yet.
        &|| drop(scratch.write("cert.pem", &Pair::valid().cert)),
        &|| drop(scratch.identity(&expired)),
        &|| drop(scratch.write("cert.pem", "")),
        &|| std::fs::remove_file(&identity.cert).expect("a file"),
    ];
    for break_it in breaks {
        break_it();
        assert_eq!(listener.reload(), Reload::Failed);
        assert_eq!(listener.reload(), Reload::Failed, "and again, until it can be used");
        assert!(!listener.last_reload_ok());
        assert_eq!(listener.not_after_seconds(), 4_039_372_800);
    }
    scratch.identity(&old);
    assert_eq!(listener.reload(), Reload::Replaced);
    assert!(listener.last_reload_ok());
}

#[test]
fn roots_that_cannot_be_used_are_named() {
    let scratch = Scratch::new();
    let empty = scratch.write("ca.pem", "nothing");
    let error = Connector::load("app", Some(&empty)).expect_err("no root");
    assert!(error.to_string().contains("ca.pem: no certificate in it"), "{error}");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let damaged = scratch.write("ca.pem", text);
    let error = Connector::load("app", Some(&damaged)).expect_err("no root");
    assert!(error.to_string().contains("ca.pem: certificate 1 of the file"), "{error}");
    let ca = scratch.write("ca.pem", &Authority::new().cert);
    let error = Connector::load("no name", Some(&ca)).expect_err("no name");
    assert!(matches!(error.fault, Fault::Name(_)), "{error}");
}
