#![allow(clippy::unwrap_used)]
use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::os::unix::fs::PermissionsExt;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW: u64 = 1_800_000_000;

fn grant() -> Grant {
    Grant {
        room: "bar".parse().unwrap(),
        role: Role::Teacher,
        sub: "alice".into(),
        exp: NOW + 3600,
        nbf: None,
        name: None,
    }
}

fn by_hand(header: &str, claims: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn what_was_signed_is_what_is_granted() {
    let token = Signer::with_secret(SECRET).sign(&grant()).unwrap();
    assert_eq!(Verifier::with_secret(SECRET).verify(&token, NOW), Ok(grant()));
}

#[test]
fn times_hold_with_some_leeway_and_no_more() {
    let verifier = Verifier::with_secret(SECRET);
    let sign = |grant: &Grant| Signer::with_secret(SECRET).sign(grant).unwrap();
    let token = sign(&Grant { nbf: Some(NOW), ..grant() });
    let outcomes = [
        (NOW - 31, Some(Refusal::NotYet)),
        (NOW - 30, None),
        (NOW + 3630, None),
        (NOW + 3631, Some(Refusal::Expired)),
        (u64::MAX, Some(Refusal::Expired)),
    ];
    for (now, refusal) in outcomes {
        assert_eq!(verifier.verify(&token, now).err(), refusal, "{now}");
    }
    let eternal = sign(&Grant { exp: u64::MAX, ..grant() });
    assert!(verifier.verify(&eternal, NOW).is_ok());
}

#[test]
fn another_key_and_any_altered_byte_are_refused() {
    let verifier = Verifier::with_secret(SECRET);
    let token = Signer::with_secret(b"another secret of thirty-two bytes or so").sign(&grant());
    assert_eq!(verifier.verify(&token.unwrap(), NOW), Err(Refusal::Invalid));

    let token = Signer::with_secret(SECRET).sign(&grant()).unwrap();
    for at in 0..token.len() - 1 {
        let mut altered = token.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(verifier.verify(&altered, NOW), Err(Refusal::Invalid), "{at}");
    }
}

#[test]
fn an_algorithm_is_bound_to_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("school.pem");
    let public = generate_key_pair(&private).unwrap();
    let config =
        Config { secret_file: None, public_key_file: Some(public.clone()), ..Config::default() };
    let verifier = Verifier::open(&config).unwrap();

    let token = Signer::from_private_key_file(&private).unwrap().sign(&grant()).unwrap();
    assert_eq!(verifier.verify(&token, NOW), Ok(grant()));

    // The classic confusion: HS256 with the public key's bytes as the secret.
    let pem = std::fs::read(public).unwrap();
    for secret in [pem.as_slice(), pem.trim_ascii()] {
        let forged = Signer::with_secret(secret).sign(&grant()).unwrap();
        assert_eq!(verifier.verify(&forged, NOW), Err(Refusal::Invalid));
    }
    // And the older one: no algorithm.
    let claims = serde_json::to_string(&grant()).unwrap();
    for header in [r#"{"alg":"none"}"#, r#"{"typ":"JWT"}"#, r#"{"alg":"EdDSA"}"#] {
        let forged = by_hand(header, &claims, "");
        assert_eq!(verifier.verify(&forged, NOW), Err(Refusal::Invalid));
    }
    // A secret's verifier does not take what the key pair signed.
    assert_eq!(Verifier::with_secret(SECRET).verify(&token, NOW), Err(Refusal::Invalid));
}

#[test]
fn claims_must_be_there_and_mean_something() {
    let verifier = Verifier::with_secret(SECRET);
    let sign = |claims: &serde_json::Value| {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    };
    let good =
        serde_json::json!({"room": "*", "role": "speaker", "sub": "bob", "exp": NOW + 1, "x": 1});
    assert_eq!(verifier.verify(&sign(&good), NOW).unwrap().room, Scope::Every);
    for (key, value) in [
        ("room", serde_json::json!("Not A Room")),
        ("role", serde_json::json!("king")),
        ("sub", serde_json::json!("")),
        ("sub", serde_json::json!("x".repeat(300))),
        ("exp", serde_json::json!("tomorrow")),
        ("exp", serde_json::json!(-1)),
        ("aud", serde_json::json!("someone else")),
    ] {
        let mut claims = good.clone();
        claims[key] = value;
        assert_eq!(verifier.verify(&sign(&claims), NOW), Err(Refusal::Invalid), "{claims}");
    }
    for key in ["room", "role", "sub", "exp"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        assert_eq!(verifier.verify(&sign(&claims), NOW), Err(Refusal::Invalid), "{key}");
    }
}

#[test]
fn nonsense_is_refused_quietly() {
    let verifier = Verifier::with_secret(SECRET);
    for text in ["", ".", "..", "a.b.c", "é.é.é", &"x".repeat(MAX_TOKEN + 1), "\u{0}"] {
        assert_eq!(verifier.verify(text, NOW), Err(Refusal::Invalid));
    }
}

#[test]
fn a_missing_secret_is_made_once_and_only_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.secret");
    let config = Config { secret_file: Some(path.clone()), ..Config::default() };
    let verifier = Verifier::open(&config).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = Signer::from_secret_file(&path).unwrap().sign(&grant()).unwrap();
    assert_eq!(verifier.verify(&token, NOW), Ok(grant()));
    assert_eq!(Verifier::open(&config).unwrap().verify(&token, NOW), Ok(grant()));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left behind: {left:?}");
}

#[test]
fn bad_key_files_name_file_and_cure() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, "hunter2\n").unwrap();
    let said = Signer::from_secret_file(&short).unwrap_err().to_string();
    assert!(said.contains("short") && said.contains("delete the file"), "{said}");
    let said = Signer::from_private_key_file(&short).unwrap_err().to_string();
    assert!(said.contains("BEGIN PRIVATE KEY"), "{said}");
    let nowhere = folder.path().join("no/such/folder");
    let said = Signer::from_secret_file(&nowhere).unwrap_err().to_string();
    assert!(said.contains("no/such/folder") && said.contains("must exist"), "{said}");
    assert!(generate_key_pair(&short).is_err(), "nothing is overwritten");
    assert_eq!(std::fs::read(&short).unwrap(), b"hunter2\n");
}
