#![allow(clippy::unwrap_used)]
use super::*;

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789012345678901\r\na=sendrecv\r\n\
    a=candidate:1 1 udp 1 3f2a.local 1 typ host\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
    a=mid:1\r\na=rid:h send\r\na=simulcast:send h\r\n";

#[test]
fn an_offer_is_cleaned_and_sends_only() {
    let clean = clean_offer(OFFER, Purpose::Publish).unwrap();
    for gone in ["candidate", "simulcast", "rid:", "sendrecv"] {
        assert!(!clean.contains(gone), "{clean}");
    }
    assert_eq!(clean.matches("a=sendonly\r\n").count(), 2);
    assert!(clean.find("a=sendonly").unwrap() < clean.find("m=video").unwrap(), "{clean}");
    let unix = OFFER.replace("\r\n", "\n");
    assert_eq!(
        clean_offer(&unix, Purpose::Publish).unwrap(),
        clean,
        "bare newlines are taken (RFC 8866 §5)"
    );
}

#[test]
fn disabled_media_do_not_count() {
    let offer = OFFER.replace("m=audio 9", "m=video 0");
    assert!(clean_offer(&offer, Purpose::Publish).is_ok());
    let offer = offer.replace("m=video 9", "m=video 0");
    assert!(matches!(clean_offer(&offer, Purpose::Publish), Err(PublishError::Unprocessable(_))));
}

#[test]
fn an_endless_offer_is_refused() {
    let offer = format!("{OFFER}{}", "a=x:1\r\n".repeat(MAX_LINES));
    assert!(matches!(clean_offer(&offer, Purpose::Publish), Err(PublishError::BadSdp(_))));
}

#[test]
fn fragments_are_read_with_care() {
    let good = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
        a=candidate:3471623853 1 tcp 2122194687 a.local 9 typ host tcptype active\r\n\
        a=end-of-candidates\r\n";
    let fragment = Fragment::parse(good).unwrap();
    assert_eq!(fragment.candidates, 2);
    assert_eq!(fragment.credentials.unwrap().ufrag, "EsAw");
    assert_eq!(Fragment::parse("a=end-of-candidates\n").unwrap().credentials, None);
    for bad in [
        "",
        "\r\n",
        "hello",
        "v=0\r\n",
        "a=mid:0\r\n",
        "a=ice-ufrag:EsAw\r\n",
        "a=ice-ufrag:E\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        "a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n",
        "a=ice-ufrag:E:Aw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        "a=candidate:1 1 udp\r\n",
        "a=candidate:1 1 udp 1 192.0.2.1 70000 typ host\r\n",
        "a=candidate:1 x udp 1 192.0.2.1 7000 typ host\r\n",
        "a=candidate:1 1 udp 1 192.0.2.1 7000 host typ\r\n",
    ] {
        assert!(matches!(Fragment::parse(bad), Err(PatchError::BadFragment(_))), "{bad:?}");
    }
}

#[test]
fn a_restart_changes_credentials_and_nothing_else() {
    let new = Credentials { ufrag: "WXYZ".into(), pwd: "new-password-of-22-chars".into() };
    let changed = with_credentials(OFFER, &new);
    assert_eq!(Credentials::find(&changed), Some(new));
    let rest = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.starts_with("a=ice-")).map(str::to_owned).collect()
    };
    assert_eq!(rest(&changed), rest(OFFER));
}

#[test]
fn a_fragment_tells_the_first_media_of_the_answer() {
    let fragment = answer_fragment(OFFER);
    assert_eq!(
        fragment,
        "a=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
         a=candidate:1 1 udp 1 3f2a.local 1 typ host\r\n"
    );
}

/// A video in layers, as browsers offer it.
fn layered(ids: &[&str], listed: &str) -> String {
    let rids: String = ids.iter().map(|id| format!("a=rid:{id} send\r\n")).collect();
    format!(
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
         a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n{rids}\
         a=simulcast:send {listed}\r\na=sendonly\r\n"
    )
}

#[test]
fn layers_are_taken_in_the_form_that_browsers_write() {
    let offer = layered(&["q", "h", "f"], "q;h;f");
    assert_eq!(simulcast(&offer), ["q", "h", "f"]);
    let clean = clean_offer(&offer, Purpose::Publish).unwrap();
    assert_eq!(simulcast(&clean), ["q", "h", "f"]);
    assert_eq!(clean.matches("a=rid:").count(), 3);
    let receiving = offer.replace("a=sendonly", "a=recvonly");
    let clean = clean_offer(&receiving, Purpose::Subscribe).unwrap();
    assert!(!clean.contains("rid:") && !clean.contains("simulcast"), "{clean}");
}

#[test]
fn other_forms_of_simulcast_are_one_encoding() {
    let unnamed = layered(&["q", "h"], "q;h").replace("rtp-stream-id", "something-else");
    for offer in [
        layered(&["q"], "q"),
        layered(&["q", "h"], "q;~h"),
        layered(&["q", "h"], "q,h"),
        layered(&["q", "h"], "q;q"),
        layered(&["q", "h"], "q;x"),
        layered(&["q", "h", "f"], "q;h"),
        layered(&["a", "b", "c", "d", "e"], "a;b;c;d;e"),
        layered(&["q", "muchlongerthanmost"], "q;muchlongerthanmost"),
        unnamed,
    ] {
        assert_eq!(simulcast(&offer), [""; 0], "{offer}");
        let clean = clean_offer(&offer, Purpose::Publish).unwrap();
        assert!(!clean.contains("a=rid:") && !clean.contains("a=simulcast"), "{clean}");
    }
}
