//! Keywords: replies that stop an account's messages, or start them again.
//!
//! Only a whole reply counts, in any spelling: "Stop!" is a keyword, "please don't stop" is not.

use domain::{Invalid, text::Word};
use icu_normalizer::DecomposingNormalizer;

/// Request that a reply makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    Stop,
    Start,
}

/// Replies that stop messages in every account, by language.
///
/// Sources: Twilio, "Twilio support for opt-out keywords" (English); 47 CFR 64.1200(a)(10), the words that always
/// revoke a consent; Meta's button of marketing templates ("Stop promotions"); the usage of networks in other
/// countries.
const STOP: [(&str, &[&str]); 20] = [
    (
        "English",
        &[
            "stop",
            "stop all",
            "unsubscribe",
            "cancel",
            "end",
            "quit",
            "revoke",
            "opt out",
            "stop promotions",
            "please stop",
            "stop please",
            "remove me",
            "unsubscribe me",
        ],
    ),
    ("Arabic", &["توقف", "إيقاف", "ايقاف", "إلغاء الاشتراك", "الغاء الاشتراك"]),
    ("Chinese", &["退订", "退訂", "停止", "取消订阅", "取消訂閱"]),
    ("Czech", &["odhlásit", "zrušit odběr"]),
    ("Dutch", &["afmelden", "uitschrijven", "stoppen", "promoties stoppen"]),
    ("Finnish", &["lopeta", "peruuta tilaus"]),
    (
        "French",
        &[
            "arrêt",
            "arrêter",
            "stopper",
            "désabonner",
            "se désabonner",
            "désinscription",
            "arrêter les promotions",
        ],
    ),
    ("German", &["stopp", "abmelden", "abbestellen", "austragen", "keine Werbung", "Werbung stoppen"]),
    ("Hebrew", &["הסר", "הסירו", "הסר אותי"]),
    ("Hindi", &["बंद करो", "बंद करें", "रोकें"]),
    ("Indonesian", &["berhenti", "hentikan", "berhenti berlangganan", "hentikan promosi"]),
    ("Italian", &["basta", "cancellami", "disiscrivimi", "interrompi promozioni"]),
    ("Japanese", &["停止", "配信停止", "解除", "ストップ"]),
    ("Korean", &["수신거부", "중지", "그만"]),
    ("Polish", &["wypisz", "wypisz mnie", "rezygnuję"]),
    ("Portuguese", &["parar", "pare", "sair", "descadastrar", "cancelar inscrição", "parar promoções"]),
    ("Russian", &["стоп", "отписаться", "отписка", "отпишите меня"]),
    (
        "Spanish",
        &[
            "baja",
            "alto",
            "parar",
            "dar de baja",
            "darme de baja",
            "cancelar suscripción",
            "detener promociones",
        ],
    ),
    ("Swedish", &["stopp", "avsluta", "avregistrera"]),
    ("Turkish", &["iptal", "dur", "durdur", "ret", "abonelikten çık"]),
];

/// Replies that start messages again, the same in all languages. Only words that customers were told of give
/// consent.
const START: [&str; 3] = ["start", "unstop", "yes"];

/// Longest reply that is examined, in bytes. No keyword is longer.
const LONGEST: usize = 512;

impl Keyword {
    /// Returns the request of a reply, by the built-in words and the stop words of an account.
    pub fn of(text: &str, own: &StopWords) -> Option<Self> {
        let said = words(text)?;
        let listed = STOP.iter().flat_map(|(_, words)| words.iter().copied());
        let stops = listed.chain(own.0.iter().map(Word::as_str)).filter_map(words);
        // Words are compared without the gaps between them, so that "S T O P" and "stop-all" match.
        let together = said.concat();
        if stops.map(|words| words.concat()).any(|stop| stop == together) {
            return Some(Self::Stop);
        }
        matches!(&said[..], [word] if START.contains(&word.as_str())).then_some(Self::Start)
    }
}

/// Returns the words of a text in lower case, without punctuation, emoji, accents and invisible characters. A word
/// that is repeated is returned once. Returns `None` if the text has no words or is too long.
fn words(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let text = DecomposingNormalizer::new_nfkd().normalize(text).to_lowercase();
    // Lower case can add accents: "İ" becomes "i" with a dot.
    let plain = text.chars().filter(|character| {
        !matches!(character, '\u{300}'..='\u{36f}') && !domain::text::is_invisible(*character)
            || character.is_whitespace()
    });
    let plain: String = plain.collect();
    let mut words: Vec<String> = plain
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.dedup();
    (!words.is_empty()).then_some(words)
}

/// Replies that stop an account's messages, in addition to the built-in ones: at most 50, each 1–64 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<Word>", into = "Vec<Word>")]
pub struct StopWords(Vec<Word>);

impl StopWords {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Word>> for StopWords {
    type Error = Invalid;
    fn try_from(own: Vec<Word>) -> Result<Self, Invalid> {
        if own.len() > 50 {
            return Err(Invalid::new("has more than 50 words"));
        }
        if own.iter().any(|word| words(word.as_str()).is_none()) {
            return Err(Invalid::new("has a word without letters and digits"));
        }
        Ok(Self(own))
    }
}

impl From<StopWords> for Vec<Word> {
    fn from(words: StopWords) -> Self {
        words.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(text: &str) -> Option<Keyword> {
        Keyword::of(text, &StopWords::default())
    }

    #[test]
    fn a_reply_that_asks_for_an_end_is_understood_however_it_is_written() {
        for text in [
            "stop",
            " STOP ",
            "Stop.",
            "stop!",
            "STOP!!!",
            "\"stop\"",
            "“Stop”",
            "¡Alto!",
            "«стоп»",
            "STOP ALL",
            "stopall",
            "Stop-all",
            "opt out",
            "OPT-OUT",
            "optout",
            "Stop promotions",
            "stop_promotions",
            "STOP_PROMOTIONS",
            "unsubscribe.",
            "Unsubscribe",
            "End.",
            "quit\n",
            "please stop",
            "Stop, please!",
            "ARRET",
            "Arrêt",
            "BAJA",
            "STOPP",
            "İPTAL",
            "iptal",
            "ＳＴＯＰ",
            "st\u{200b}op",
            "\u{202a}STOP\u{202c}",
            "STOP 🛑",
            "🛑 stop",
            "stop stop stop",
            "S T O P",
            "S.T.O.P.",
            "退订",
            "수신거부",
            "수신 거부",
            "बंद करो",
        ] {
            assert_eq!(keyword(text), Some(Keyword::Stop), "{text}");
        }
        for text in ["start", "START!", " Yes. ", "\"Unstop\""] {
            assert_eq!(keyword(text), Some(Keyword::Start), "{text}");
        }
    }

    #[test]
    fn no_other_reply_is_taken_for_one() {
        for text in [
            "",
            "  ",
            "!",
            "👍",
            "please don't stop",
            "stop by tomorrow?",
            "stop it",
            "Is this the last stop?",
            "don't cancel",
            "cancel my order",
            "the end",
            "yes please",
            "Yes, at eight",
            "y es",
            "restart",
            "when do you open?",
            "nonstop",
            &format!("stop{}", " x".repeat(1000)),
        ] {
            assert_eq!(keyword(text), None, "{text}");
        }
    }

    #[test]
    fn an_account_adds_words_of_its_own() {
        let own = |words: serde_json::Value| serde_json::from_value::<StopWords>(words);
        let added = own(serde_json::json!(["Nej tak", "Ekki meira!"])).unwrap();
        for text in ["nej tak", "NEJ TAK!", "ekki  meira", "stop"] {
            assert_eq!(Keyword::of(text, &added), Some(Keyword::Stop), "{text}");
        }
        assert_eq!((keyword("nej tak"), Keyword::of("nej", &added)), (None, None));
        // Stop words take precedence over start words.
        let yes = own(serde_json::json!(["yes"])).unwrap();
        assert_eq!(Keyword::of("Yes", &yes), Some(Keyword::Stop));
        let many = vec!["x"; 51];
        for refused in [serde_json::json!(["!?"]), serde_json::json!([""]), serde_json::json!(many)] {
            assert!(own(refused).is_err());
        }
        assert!(own(serde_json::json!(["x".repeat(65)])).is_err());
    }

    #[test]
    fn the_words_are_documented() {
        let mut page = "<!-- Generated from the list: `UPDATE=1 cargo test -p campaigns` writes it anew. -->\n\n\
            # Replies that stop messages\n\n\
            A reply of one of these words withdraws the customer's consent. The whole reply has to be the word: upper \
            and\nlower case, accents, punctuation, emoji, spaces and repetitions make no difference. An account adds words \
            of its own\nwith `stop_words` of `PUT /providers/twilio`.\n\n| language | replies |\n|---|---|\n"
            .to_owned();
        for (language, words) in STOP {
            page += &format!("| {language} | {} |\n", words.join(", "));
        }
        page += &format!("\nThese give the consent again, in all languages: {}.\n", START.join(", "));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/stop-words.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "run with UPDATE=1");
        // Every listed word has to be recognised in a reply.
        for word in STOP.iter().flat_map(|(_, words)| words.iter()) {
            assert_eq!(keyword(word), Some(Keyword::Stop), "{word}");
        }
    }
}
