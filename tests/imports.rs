//! Imports of code files: every content, every way of upload, and failures during an import.

use std::time::Duration;

use codes::{
    NewCode,
    code_pool::Lot,
    entities::{Import, ImportStatus},
};
use groundswell::faults::Faults;
use scenarios::{Api, embedded, eventually, many, patiently, platform};
use serde_json::{Value, json};

use crate::process::Victim;

/// Expected result of an import.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    /// Number of rows, added codes, duplicates and rejected rows; or the reason why nothing is loaded.
    outcome: Result<[u64; 4], &'static str>,
    /// Beginnings of the report's lines.
    report: &'static [&'static str],
}

fn case(
    name: &'static str,
    file: impl Into<Vec<u8>>,
    outcome: Result<[u64; 4], &'static str>,
    report: &'static [&'static str],
) -> Case {
    Case { name, file: file.into(), outcome, report }
}

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let mark = if mark { &[0xff, 0xfe][..] } else { &[] };
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    mark.iter().copied().chain(units).collect()
}

fn rows(count: usize) -> String {
    let mut csv = String::from("code\n");
    for n in 0..count {
        csv.push_str(&format!("ROW-{n:06}\n"));
    }
    csv
}

fn torture() -> Vec<Case> {
    let bytes = |parts: &[&[u8]]| parts.concat();
    vec![
        case("plain", "code\nA-1\nB-2\n", Ok([2, 2, 0, 0]), &[]),
        case("no line break at the end", "code\nA-1\nB-2", Ok([2, 2, 0, 0]), &[]),
        case("BOM", "\u{feff}code\nA-1\n", Ok([1, 1, 0, 0]), &[]),
        case("CRLF", "code,platform\r\nA-1,ios\r\nB-2,web\r\n", Ok([2, 2, 0, 0]), &[]),
        case("lone CR", "code\rA-1\rB-2\r=x\r", Ok([3, 2, 0, 1]), &["4,code,begins like a formula"]),
        case("blank rows", "\n\ncode\n\nA-1\n \n,\n\nB-2\n", Ok([2, 2, 0, 0]), &[]),
        case(
            "quoted commas and line breaks",
            "code,metadata\n\"A,1\",\"{\"\"note\"\": \"\"a, b\"\"}\"\nB-2,\"{\n}\"\n\"C\n3\",\n",
            Ok([3, 2, 0, 1]),
            &["5,code,has control or invisible characters"],
        ),
        case("UTF-16", utf16("code\nA-1\n", true), Err("UTF-16"), &["0,,the file is UTF-16 text"]),
        case("UTF-16 without a mark", utf16("code\nA-1\n", false), Err("UTF-16"), &["0,,the file is UTF-16"]),
        case(
            "a field of a megabyte",
            format!("code\n{}\nA-1\n", "x".repeat(1 << 20)),
            Ok([2, 1, 0, 1]),
            &["2,,is too long"],
        ),
        case(
            "a long code",
            format!("code\n{}\nA-1\n", "x".repeat(101)),
            Ok([2, 1, 0, 1]),
            &["2,code,is longer than 100"],
        ),
        case(
            "no header",
            "SAVE-10\nSAVE-20\n",
            Ok([2, 2, 0, 0]),
            &["1,,there is no header: the columns are taken as code"],
        ),
        case(
            "no header, more columns",
            "SAVE-10,ios\nSAVE-20,tv\n",
            Ok([2, 1, 0, 1]),
            &["1,,there is no header", "2,platform,is not ios"],
        ),
        case("wrong header", "coupon\nA-1\n", Err("no column `code`"), &["1,,the header has no column"]),
        case(
            "wrong header, known columns",
            "voucher,platform\nA-1,ios\n",
            Err("no column `code`"),
            &["1,,the header has no column"],
        ),
        case(
            "two columns of a name",
            "code,Code\nA-1,B-2\n",
            Err("two columns `code`"),
            &["1,,the header has two"],
        ),
        case("header only", "\ncode,platform\n", Ok([0, 0, 0, 0]), &["2,,the file has a header and no rows"]),
        case("empty", "", Err("is empty"), &["0,,the file is empty"]),
        case("blank", "\n\r\n\n", Err("is empty"), &["0,,the file is empty"]),
        case(
            "other columns",
            "note,CODE , Expires_At\nx,A-1,2099-01-01\n",
            Ok([1, 1, 0, 0]),
            &["1,note,is an unknown column and is ignored"],
        ),
        case(
            "too many columns",
            "code\nA-1,x\nB-2\n",
            Ok([2, 1, 0, 1]),
            &["2,,has 2 columns, and the header has 1"],
        ),
        case("too few columns", "code,platform,expires_at\nA-1\n", Ok([1, 1, 0, 0]), &[]),
        case(
            "duplicates within",
            "code\nA-1\nA-1\na-1\n=x\nB-2\nB-2\n",
            Ok([6, 2, 3, 1]),
            &[
                "3,code,is a duplicate of line 2",
                "4,code,is a duplicate of line 2",
                "5,code,begins like a formula",
                "7,code,is a duplicate of line 6",
            ],
        ),
        case(
            "mixed case",
            "code\nSummer\nSUMMER\nsummer-2\n",
            Ok([3, 2, 1, 0]),
            &["3,code,is a duplicate of line 2"],
        ),
        case(
            "case as Unicode folds it",
            "code\nstraße-1\nSTRASSE-1\nΟΔΟΣ-1\nοδος-1\nODOS-1\n",
            Ok([5, 3, 2, 0]),
            &["3,code,is a duplicate of line 2", "5,code,is a duplicate of line 4"],
        ),
        case("spaces", "code\n  A-1  \nA-1\n\tB-2\n", Ok([3, 2, 1, 0]), &["3,code,is a duplicate of line 2"]),
        case("NUL bytes", bytes(&[b"code\nA\0\x31\nB-2\n"]), Ok([2, 1, 0, 1]), &["2,code,has control"]),
        case("invalid UTF-8", bytes(&[b"code\nA\xff1\nB-2\n"]), Ok([2, 1, 0, 1]), &["2,code,is not UTF-8"]),
        case("other scripts", "code\nЛЕТО-1\nコード2\n🎁-3\n", Ok([3, 3, 0, 0]), &[]),
        case(
            "hidden characters",
            "code\nA\u{200b}1\nB\u{202e}2\n",
            Ok([2, 0, 0, 2]),
            &["2,code,has control", "3,code,has control"],
        ),
        case(
            "formulas",
            "code\n=cmd()\n+1\n-1\n@x\nA=1\n＝cmd()\n＋1\n－1\n＠x\n",
            Ok([9, 1, 0, 8]),
            &[
                "2,code,begins like",
                "3,code,begins like",
                "4,code,begins like",
                "5,code,begins like",
                "7,code,begins like",
                "8,code,begins like",
                "9,code,begins like",
                "10,code,begins like",
            ],
        ),
        case(
            "emoji, joined or not, and what is hidden outside of one",
            "code\n❤️-1\n👩‍🚀-2\n🏴󠁧󠁢󠁥󠁮󠁧󠁿-3\n🏴󠁧󠁢󠁳󠁣󠁴󠁿-3\n1️⃣-4\n❤-1\n5\u{200d}-5\n6\u{fe0f}-6\n7\u{e0067}-7\n",
            Ok([9, 5, 1, 3]),
            &[
                "7,code,is a duplicate of line 2",
                "8,code,has control or invisible",
                "9,code,has control or invisible",
                "10,code,has control or invisible",
            ],
        ),
        case(
            "metadata that the table has no numbers for",
            "code,metadata\nA-1,\"{\"\"n\"\":1e300,\"\"m\"\":1e-200,\"\"\"\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}\"\nB-2,\n",
            Ok([2, 2, 0, 0]),
            &[],
        ),
        case(
            "letters that look alike",
            "code\nCAF\u{c9}-1\ncafe\u{301}-1\nA\u{200d}1\n",
            Ok([3, 1, 1, 1]),
            &["3,code,is a duplicate of line 2", "4,code,has control"],
        ),
        case(
            "dates",
            "code,expires_at\nA-1,9999-12-31\nB-2,+002030-01-31\n",
            Ok([2, 1, 0, 1]),
            &["3,expires_at,is not a date"],
        ),
        case("cut off inside quotes", "code\nA-1\n\"B-2", Ok([2, 1, 0, 1]), &["3,,ends inside quotes"]),
        case(
            "gzip",
            bytes(&[&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], b"code\nA-1\n"]),
            Err("gzip"),
            &["0,,the file is a gzip"],
        ),
        case(
            "a spreadsheet",
            bytes(&[b"PK\x03\x04 xl/workbook.xml"]),
            Err("spreadsheet"),
            &["0,,the file is a zip"],
        ),
        case(
            "a blank before each quoted cell",
            "\"code\", \"platform\", \"expires_at\"\n\"A-1\", \"ios\", \"2020-01-01\"\n\"B-2\" ,\t\"android\", \"2099-12-31\"\n",
            Ok([2, 1, 0, 1]),
            &["2,expires_at,has passed"],
        ),
        case(
            "columns called otherwise",
            "\u{200b}Code;Expires At;expires  at 2\nA-1;2020-01-01;\nB-2;2099-12-31;\n",
            Ok([2, 1, 0, 1]),
            &[
                "1,code,is read from the column",
                "1,expires_at,is read from the column `Expires At`",
                "1,expires  at 2,is an unknown column",
                "2,expires_at,has passed",
            ],
        ),
        case(
            "a column that may be meant",
            "code,expiry_date\nA-1,next year\n",
            Err("`expiry_date` seems to be `expires_at`"),
            &["1,,the column `expiry_date` seems to be `expires_at`"],
        ),
        case(
            "a column that is meant by what is in it",
            "code,Kanal\nA-1,iOS\nB-2,\n",
            Err("`Kanal` seems to be `platform`"),
            &["1,,the column `Kanal` seems to be `platform`"],
        ),
        case(
            "ends in a column of another name",
            "code,Frist\nA-1,31.12.2020\n",
            Err("`Frist` seems to be `expires_at`"),
            &["1,,the column"],
        ),
        case(
            "dates of another kind",
            "code,created_at\nA-1,2020-12-31\n",
            Ok([1, 1, 0, 0]),
            &["1,created_at,is an unknown column"],
        ),
        case(
            "semicolons",
            "code;platform;expires_at\nA-1;ios;2099-01-01\nB-2;tv;\n",
            Ok([2, 1, 0, 1]),
            &["3,platform"],
        ),
        case("tabs", "code\tplatform\nA-1\tios\nB-2\t\"tv\"\n", Ok([2, 1, 0, 1]), &["3,platform"]),
        case("bars", "platform|code\nios|A-1\ntv|B-2\n", Ok([2, 1, 0, 1]), &["3,platform"]),
        case(
            "sep=",
            "\u{feff}sep=;\r\ncode;platform\r\nA-1;ios\r\nB-2;tv\r\n",
            Ok([2, 1, 0, 1]),
            &["4,platform"],
        ),
        case(
            "no header, semicolons",
            "SAVE-10;ios\nSAVE-20;tv\n",
            Ok([2, 1, 0, 1]),
            &["1,,there is no", "2,platform"],
        ),
        case(
            "more delimiters than one",
            "code\nA-1;ios\nB-2|ios\n\"C;3\"\n",
            Ok([3, 1, 0, 2]),
            &["2,code,has a `;`", "3,code,has a `|`"],
        ),
        case(
            "commas where semicolons separate",
            "code;platform\nA-1,ios\n",
            Ok([1, 0, 0, 1]),
            &["2,code,has a `,`"],
        ),
        case(
            "surplus cells",
            "code,platform,,\nA-1,ios,,\nB-2,ios,,,,\nC-3,ios,sold out,\n",
            Ok([3, 2, 0, 1]),
            &["4,,has something in column 3"],
        ),
        case(
            "the header again",
            "code,platform\nA-1,ios\n\u{feff}Code,Platform\nB-2,ios\n",
            Ok([2, 2, 0, 0]),
            &["3,,repeats the header"],
        ),
        case(
            "the only column again",
            "code\nA-1\ncode\nB-2\n",
            Ok([2, 2, 0, 0]),
            &["3,,repeats the header"],
        ),
        case(
            "another header",
            "code,platform\nA-1,ios\nplatform,code\nios,B-2\n",
            Err("columns differ from those in line 1"),
            &["3,,the file has a second header"],
        ),
        case(
            "a quote that hides rows",
            "code,note\nA1,\"best deal\nB2,x\nC3,12\"\nD4,y\n",
            Ok([2, 2, 0, 0]),
            &["1,note,is an unknown column", "2,,has a line break in an ignored column"],
        ),
        case(
            "another header with a column of its own",
            "code,batch\nAAA111,spring\nbatch,code\nsummer,BBB222\n",
            Err("columns differ from those in line 1"),
            &["3,,the file has a second header"],
        ),
        case(
            "another header with a column that may be meant",
            "code,note\nAAA111,x\ncode,valid_until\nBBB222,2027-01-31\n",
            Err("columns differ from those in line 1"),
            &["3,,the file has a second header"],
        ),
        case(
            "what a spreadsheet has made of codes",
            "code\n1.23E+10\n\"1,23E+10\"\n#NAME?\n1-Mar\n2026-03-01\n12345.0\n####\nA\u{fffd}1\n5E10\n",
            Ok([9, 1, 0, 8]),
            &[
                "2,code,is a number",
                "3,code,is a number",
                "4,code,is an error",
                "5,code,is a date",
                "6,code,is a date",
                "7,code,is a number",
                "8,code,is an error",
                "9,code,has a character that was lost",
            ],
        ),
        case(
            "text in a formula",
            "code\n=\"A-1\"\n\"=\"\"B-2\"\"\"\n=\"=x\"\n",
            Ok([3, 2, 0, 1]),
            &["2,code,is read without", "3,code,is read without", "4,code,begins like"],
        ),
        case(
            "text after a quote",
            "code,platform\n\"A-1\"x,ios\n\"B-2\",ios\n\"C\"\"3\" ,\"io\"s\n",
            Ok([3, 1, 0, 2]),
            &["2,,has text after a closing quote", "4,,has text after a closing quote"],
        ),
        case(
            "text after a quote of the header",
            "\"co\"de\nA-1\n",
            Err("after a closing quote"),
            &["1,,the header"],
        ),
        case(
            "a column that a spreadsheet would run",
            "code,=cmd()\nA-1,x\n",
            Ok([1, 1, 0, 0]),
            &["1,'=cmd(),is an unknown column"],
        ),
        case(
            "bad cells",
            "code,platform,expires_at,metadata\nA-1,tv,,\nB-2,,soon,\nC-3,,2001-01-01,\nD-4,,,[]\nE-5,ios,2099-12-31,\"{\"\"a\"\":1}\"\n",
            Ok([5, 1, 0, 4]),
            &[
                "2,platform,is not ios",
                "3,expires_at,is not a date",
                "4,expires_at,has passed",
                "5,metadata,is not a JSON",
            ],
        ),
    ]
}

#[tokio::test]
async fn every_kind_of_file_has_its_report() {
    let cases = torture();
    let (kinds, mut failed) = (cases.len(), Vec::new());
    for case in cases {
        let name = case.name;
        if tokio::spawn(has_its_report(case)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "see above: {failed:#?}");
    println!("{kinds} kinds of files");
}

async fn has_its_report(case: Case) {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let import = api.import(&pool, case.file.clone()).await;
    let number = |name: &str| import[name].as_u64().unwrap();
    match case.outcome {
        Ok(outcome) => {
            assert_eq!(import["status"], "completed", "{}: {import}", case.name);
            let found = ["rows", "added", "duplicates", "rejected"].map(number);
            assert_eq!(found, outcome, "{}: {import}", case.name);
        }
        Err(reason) => {
            assert_eq!(import["status"], "failed", "{}: {import}", case.name);
            assert!(import["failure"].as_str().unwrap().contains(reason), "{}: {import}", case.name);
            assert_eq!(number("added"), 0, "{}", case.name);
        }
    }
    match import["report_url"].as_str() {
        Some(url) => {
            let report = api.download(url).await;
            let mut lines = report.lines();
            assert_eq!(lines.next(), Some("line,column,reason"), "{}", case.name);
            let lines: Vec<_> = lines.collect();
            assert_eq!(lines.len(), case.report.len(), "{}: {report}", case.name);
            for (line, expected) in lines.iter().zip(case.report) {
                let plain = line.replace('"', "");
                assert!(plain.starts_with(expected), "{}: {line}", case.name);
            }
            for secret in ["A-1", "B-2", "SAVE", "cmd"] {
                let told = case.name == "a column that a spreadsheet would run" && secret == "cmd";
                assert!(told || !report.contains(secret), "{}: {report}", case.name);
            }
        }
        None => assert!(case.report.is_empty(), "{}: {import}", case.name),
    }
    let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
    assert_eq!(counts["imported"], number("added"), "{}", case.name);
    assert_eq!(api.all(&format!("/code-pools/{pool}/codes")).await.len() as u64, number("added"));
}

#[tokio::test]
async fn a_code_that_never_ends_is_shown_without_an_end() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    api.import(&pool, "code,expires_at\nNEVER-1,9999-12-31\nNEVER-2,9999-12-31T23:59:59Z\n").await;
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    assert_eq!(codes.len(), 2);
    assert!(codes.iter().all(|code| code["expires_at"].is_null()), "{codes:?}");
    assert!(api.claim(&pool, "ada").await.json["expires_at"].is_null());
}

/// The report lists duplicates line by line and in order, also across checkpoints.
#[tokio::test]
async fn every_duplicate_is_named_however_many_there_are() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let first = api.import(&pool, "code\nROW-000000\n").await;
    assert_eq!(first["report_url"], Value::Null);
    let mut file = rows(2500);
    file.push_str("=x\nROW-000010\nROW-002300\n");
    let second = api.import(&pool, file).await;
    assert_eq!([&second["added"], &second["duplicates"], &second["rejected"]], [2499, 3, 1], "{second}");
    let report = api.download(second["report_url"].as_str().unwrap()).await;
    let expected = "line,column,reason\n\
        2,code,\"is a duplicate: the pool already has the code, or once had it\"\n\
        2502,code,begins like a formula\n\
        2503,code,is a duplicate of line 12\n\
        2504,code,is a duplicate of line 2302\n";
    assert_eq!(report, expected);
    let third = api.import(&pool, rows(2500)).await;
    let report = api.download(third["report_url"].as_str().unwrap()).await;
    let lines: Vec<u64> =
        report.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(lines.into_iter().eq(2..=2501), "{report}");
}

/// An import as an earlier release left it: validated, and cut off after some rows.
#[tokio::test]
async fn an_import_that_began_before_a_deployment_goes_on() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let id = pool.parse().unwrap();
    let account = &api.credentials.account_id;
    let key = format!("imports/{pool}/x/before.txt");
    let file = "note;x,code\nn,OLD-1\nn,OLD-2\nn,OLD-2\n";
    // Stored outside `imports/` at first, because the platform would otherwise start the import itself.
    let elsewhere = format!("parked/{pool}.csv");
    running.bucket.write(&elsewhere, file.as_bytes().to_vec()).await.unwrap();
    let head = running.bucket.client().head_object().bucket(&running.bucket.name).key(&elsewhere);
    let etag = head.send().await.unwrap().e_tag().unwrap().trim_matches('"').to_owned();
    let before = Import {
        status: ImportStatus::Loading,
        etag: Some(etag.clone()),
        columns: Some(vec!["note;x".to_owned(), "code".to_owned()]),
        progress: codes::entities::Progress { offset: 20, line: 3, rows: 1, added: 1, ..Default::default() },
        rows: Some(3),
        ..Import::new(
            codes::id::ImportId::of_object(&key, &etag),
            account,
            &id,
            key.clone(),
            jiff::Timestamp::now(),
        )
    };
    assert!(codes::imports::adopt(&running.table, &before).await.unwrap());
    running.bucket.write(&key, file.as_bytes().to_vec()).await.unwrap();
    let done = api.imported(&pool, before.id.as_str()).await;
    let numbers = ["rows", "added", "duplicates", "rejected"].map(|name| done[name].as_u64().unwrap());
    assert_eq!((&done["status"], numbers), (&json!("completed"), [3, 2, 1, 0]), "{done}");
}

#[tokio::test]
async fn a_hundred_thousand_rows_load_and_one_more_loads_none() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let over = api.import(&pool, rows(100_001)).await;
    assert_eq!((&over["status"], &over["added"]), (&json!("failed"), &json!(0)), "{over}");
    let report = api.download(over["report_url"].as_str().unwrap()).await;
    assert!(report.contains("100002,,\"the file has more than 100,000 rows\""), "{report}");
    assert_eq!(api.get(&format!("/code-pools/{pool}/codes")).await.ok()["data"], json!([]));

    let count = many(100_000);
    let upload = api.upload(&pool, rows(count)).await;
    // The API shows the progress of a running import.
    let path = format!("/code-pools/{pool}/imports/{upload}");
    let watched = patiently(Duration::from_secs(300), || async {
        let import = api.get(&path).await.ok();
        let over = import["status"] == "completed" || import["status"] == "failed";
        assert!(!over, "the import showed no progress before it was over: {import}");
        import["read"].as_u64().filter(|read| *read > 0)
    })
    .await;
    assert!(watched < count as u64, "{watched} of {count} rows are read");
    let done = api.imported(&pool, &upload).await;
    assert_eq!([&done["rows"], &done["added"], &done["read"]], [&json!(count); 3], "{done}");
    assert!(done["rows_per_second"].as_f64().unwrap() > 0.0);
    println!("{count} rows at {} rows/s, first seen at {watched}", done["rows_per_second"]);
}

#[tokio::test]
async fn files_copied_into_the_bucket_are_imported_whatever_their_names() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let names = [
        "codes.csv",
        "with space.csv",
        "a+b.csv",
        "100%25.csv",
        "übung-夏.csv",
        "no-extension",
        "deep/er.csv",
        // The longest key that S3 allows.
        &"x".repeat(1024 - format!("imports/{pool}/").len()),
    ];
    for (n, name) in names.iter().enumerate() {
        let key = format!("imports/{pool}/{name}");
        running.bucket.write(&key, format!("code\nDROP-{n}\n").into_bytes()).await.unwrap();
    }
    let imports = eventually(|| async {
        let imports = api.all(&format!("/code-pools/{pool}/imports")).await;
        let done = imports.iter().filter(|import| import["status"] == "completed").count();
        (done == names.len()).then_some(imports)
    })
    .await;
    let mut objects: Vec<_> = imports.iter().map(|import| import["object"].as_str().unwrap()).collect();
    objects.sort_unstable();
    let mut expected: Vec<_> = names.iter().map(|name| format!("imports/{pool}/{name}")).collect();
    expected.sort_unstable();
    assert_eq!(objects, expected);
    // The same content again belongs to the same import; another content starts another import.
    let key = format!("imports/{pool}/codes.csv");
    running.bucket.write(&key, b"code\nDROP-0\n".to_vec()).await.unwrap();
    running.bucket.write(&key, b"code\nDROP-0\nDROP-X\n".to_vec()).await.unwrap();
    eventually(|| async {
        let imports = api.all(&format!("/code-pools/{pool}/imports")).await;
        let done = imports.iter().filter(|import| import["status"] == "completed").count();
        (done == names.len() + 1).then_some(())
    })
    .await;
    let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
    assert_eq!(counts["imported"], names.len() + 1);
    // Objects that are not files of a pool cause no error.
    for key in [
        "imports/stray.csv",
        "imports/pool_x/stray.csv",
        &format!("imports/{}/a.csv", pool.replace("0", "1")),
    ] {
        running.bucket.write(key, b"code\nSTRAY-1\n".to_vec()).await.unwrap();
    }
    assert_eq!(running.queue_depth("import-dead-letters").unwrap().visible, 0);
}

/// Each repeated header is a line of the report, which is kept in memory.
#[tokio::test]
async fn a_file_of_nothing_but_headers_is_refused() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let import = api.import(&pool, "code\n".repeat(1002)).await;
    assert_eq!(import["failure"], "the file has its header more than 1,000 times", "{import}");
}

/// An upload URL accepts uploads until it expires, but imports only one file.
#[tokio::test]
async fn a_link_imports_one_file() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let upload = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
    let put = async |csv: &'static str| {
        let put = reqwest::Client::new().put(upload.text_at("upload_url")).header("content-type", "text/csv");
        assert_eq!(put.body(csv).send().await.unwrap().status(), 200);
    };
    put("code\nFIRST-1\nFIRST-2\n").await;
    assert_eq!(api.imported(&pool, &upload.id()).await["added"], 2);
    for csv in ["code\nSECOND-1\n", "code\nTHIRD-1\nTHIRD-2\n", "code\nFOURTH-1\n"] {
        put(csv).await;
    }
    let surplus = eventually(|| async {
        let imports = api.all(&format!("/code-pools/{pool}/imports")).await;
        imports.into_iter().find(|import| import["id"] != upload.id())
    })
    .await;
    assert_eq!(surplus["status"], "failed");
    assert_eq!(surplus["failure"], "the upload link was already used: announce a separate import for each file");
    assert_eq!(api.import(&pool, "code\nLAST-1\n").await["added"], 1);
    let imports = api.all(&format!("/code-pools/{pool}/imports")).await;
    assert_eq!(imports.len(), 3, "{imports:#?}");
    assert_eq!(api.get(&format!("/code-pools/{pool}")).await.ok()["counts"]["imported"], 3);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_file() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let upload = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
    let url = upload.text_at("upload_url");
    let rest = url.strip_prefix("http://").unwrap();
    let (host, target) = rest.split_once('/').unwrap();
    {
        use tokio::io::AsyncWriteExt;
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let head = format!(
            "PUT /{target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: text/csv\r\ncontent-length: 1000\r\n\r\ncode\nCUT-1\nCUT-2\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
    }
    let path = format!("/code-pools/{pool}/imports/{}", upload.id());
    assert_eq!(api.get(&path).await.ok()["status"], "awaiting_upload");
    // The upload URL still works, and the complete file is imported.
    let put = reqwest::Client::new().put(&url).header("content-type", "text/csv").body("code\nWHOLE-1\n");
    assert_eq!(put.send().await.unwrap().status(), 200);
    let done = api.imported(&pool, &upload.id()).await;
    assert_eq!((&done["rows"], &done["added"]), (&json!(1), &json!(1)));
    // The bucket refuses an upload to another key.
    let other = upload.text_at("upload_url").replace("imp_", "imq_");
    let forged =
        reqwest::Client::new().put(&other).header("content-type", "text/csv").body("code\nFORGED-1\n");
    assert_eq!(forged.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn the_same_again_adds_nothing_and_resets_no_claim() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let file = "code,platform\nTWICE-1,ios\nTWICE-2,ios\nTWICE-3,web\n";
    let first = api.import(&pool, file).await;
    assert_eq!(first["added"], 3);
    let claimed = api.post(&format!("/distribute/{pool}"), json!({ "user": "ada", "platform": "ios" })).await;
    let reserve = json!({ "user": "bo", "platform": "ios", "reserve": true });
    let reserved = api.post(&format!("/distribute/{pool}"), reserve).await;
    // The event three more times, at once.
    let event = |import: &Value, etag: &str| {
        json!({
            "version": "0", "source": "aws.s3", "detail-type": "Object Created",
            "detail": { "bucket": { "name": "groundswell" }, "object": { "key": import["object"], "etag": etag } },
        })
    };
    let key = first["object"].as_str().unwrap();
    let head =
        running.bucket.client().head_object().bucket(&running.bucket.name).key(key).send().await.unwrap();
    let etag = head.e_tag().unwrap().trim_matches('"').to_owned();
    let again = (0..3).map(|_| running.invoke("CodeImportFunction", event(&first, &etag)));
    for answer in futures_util::future::join_all(again).await {
        answer.unwrap();
    }
    // The same file under the same key, and as a separate import.
    running.bucket.write(key, file.as_bytes().to_vec()).await.unwrap();
    let second = api.import(&pool, file).await;
    assert_eq!((&second["added"], &second["duplicates"]), (&json!(0), &json!(3)), "{second}");
    // The same codes with another platform, another end and another case.
    let third = api.import(&pool, "code,platform,expires_at\ntwice-1,web,2099-01-01\nTwice-2,,\n").await;
    assert_eq!((&third["added"], &third["duplicates"]), (&json!(0), &json!(2)), "{third}");

    let pool_now = api.get(&format!("/code-pools/{pool}")).await.ok();
    assert_eq!(pool_now["counts"]["imported"], 3);
    let ada = api.claim(&pool, "ada").await;
    assert_eq!(ada.text_at("code"), claimed.text_at("code"));
    let confirm = api.post(&format!("/claims/{}/confirm", reserved.text_at("claim_id")), json!({})).await;
    assert_ne!(confirm.text_at("code"), claimed.text_at("code"));
    let rest = json!({ "user": "cy", "platform": "ios" });
    api.post(&format!("/distribute/{pool}"), rest).await.is_problem(409, "codes-exhausted");
    // An import whose file was deleted or replaced ends, and is not retried for ever.
    let gone = json!({ "object": format!("imports/{pool}/gone.csv") });
    running.invoke("CodeImportFunction", event(&gone, "x")).await.unwrap();
    let dropped = json!({ "object": format!("imports/{pool}/dropped.csv") });
    let key = dropped["object"].as_str().unwrap();
    running.bucket.write(key, b"code\nDROPPED-1\n".to_vec()).await.unwrap();
    running.invoke("CodeImportFunction", event(&dropped, "another")).await.unwrap();
    let imports = api.all(&format!("/code-pools/{pool}/imports")).await;
    let failures: Vec<_> = imports.iter().filter_map(|import| import["failure"].as_str()).collect();
    assert!(failures.iter().any(|failure| failure.contains("deleted")), "{failures:?}");
    assert!(failures.iter().any(|failure| failure.contains("replaced")), "{failures:?}");
}

#[tokio::test]
async fn codes_of_an_import_that_was_cut_off_are_neither_lost_nor_forgotten() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let table = &running.table;
    let pool = api.pool(json!({})).await;
    let (id, upload) =
        (pool.parse().unwrap(), api.post(&format!("/code-pools/{pool}/imports"), json!({})).await);
    // The process died after the import had loaded three rows since its last checkpoint.
    let announced = codes::imports::read(table, &id, &upload.id().parse().unwrap()).await.unwrap().unwrap();
    let cut_off = Import {
        status: ImportStatus::Loading,
        etag: Some("old".to_owned()),
        columns: Some(vec!["code".to_owned()]),
        rev: announced.rev + 1,
        ..announced.clone()
    };
    codes::imports::update(table, &cut_off, announced.rev).await.unwrap();
    let (_, signing) = accounts::read(table, &api.credentials.account_id).await.unwrap().unwrap();
    let row = |line: u64| NewCode {
        line,
        code: format!("CUT-{line}").try_into().unwrap(),
        platform: codes::code_pool::Platform::Universal,
        valid_until: None,
        metadata: Default::default(),
        lot: Lot::new(codes::code_pool::Platform::Universal, None),
    };
    let rows = [row(2), row(3), row(4)];
    codes::load(table, &cut_off, &signing.signing_key, &rows).await.unwrap();
    api.claim(&pool, "too early").await.is_problem(409, "codes-exhausted");
    // The same codes in another file are duplicates, and can be claimed.
    let second = api.import(&pool, "code\nCUT-2\nCUT-3\nCUT-4\n").await;
    assert_eq!((&second["added"], &second["duplicates"]), (&json!(0), &json!(3)), "{second}");
    assert_eq!(api.claim(&pool, "ada").await.status, 201);
    // The first import continues, finds its file deleted, and reports the rows that it had loaded.
    let event = json!({ "detail": { "object": { "key": announced.object, "etag": "old" } } });
    running.invoke("CodeImportFunction", event).await.unwrap();
    let first = api.imported(&pool, &upload.id()).await;
    assert_eq!((&first["status"], &first["added"]), (&json!("failed"), &json!(3)), "{first}");
    assert_eq!(api.get(&format!("/code-pools/{pool}")).await.ok()["counts"]["imported"], 3);
    for user in ["bo", "cy"] {
        assert_eq!(api.claim(&pool, user).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_file_it_ends_with_every_row_once() {
    let data = tempfile::tempdir().unwrap();
    let total = 20_000;
    let Some(first) = Victim::start(data.path()).await else { return };
    let api = Api::new(first.credentials.clone());
    let mut victim = Some(first);
    let pool = api.pool(json!({})).await;
    let import = api.upload(&pool, rows(total)).await;
    let mut kills = Vec::new();
    for goal in [1, 5_000, 12_000] {
        let running = match victim.take() {
            Some(running) => running,
            None => Victim::start(data.path()).await.unwrap(),
        };
        let api = Api::new(running.credentials.clone());
        let path = format!("/code-pools/{pool}/imports/{import}");
        let read = patiently(Duration::from_secs(120), || async {
            let import = api.get(&path).await.ok();
            import["read"].as_u64().filter(|read| *read >= goal)
        })
        .await;
        // Between two checkpoints.
        running.kill();
        kills.push(read);
    }
    assert!(kills.iter().all(|read| (*read as usize) < total), "killed too late: {kills:?}");
    let survivor = platform(data.path(), false, Faults::default()).await.unwrap();
    let api = Api::new(survivor.credentials.clone());
    let done = api.imported(&pool, &import).await;
    let numbers = ["rows", "added", "duplicates", "rejected"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(numbers, [total as u64, total as u64, 0, 0], "{done}");
    let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
    assert_eq!(counts["imported"], total);
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let distinct: std::collections::HashSet<_> =
        codes.iter().map(|code| code["line"].as_u64().unwrap()).collect();
    assert_eq!((codes.len(), distinct.len()), (total, total));
    assert!(codes.iter().all(|code| code["status"] == "available"), "each has its place in the stock");
    println!("killed at {kills:?} of {total} rows");
}

#[tokio::test]
async fn a_pool_that_is_deleted_during_an_import_takes_it_along() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let import = api.upload(&pool, rows(30_000)).await;
    let path = format!("/code-pools/{pool}/imports/{import}");
    eventually(|| async { api.get(&path).await.ok()["read"].as_u64().filter(|read| *read > 0) }).await;
    assert_eq!(api.secret("DELETE", &format!("/code-pools/{pool}")).send().await.status, 202);
    patiently(Duration::from_secs(120), || async {
        (api.get(&format!("/code-pools/{pool}")).await.status == 404).then_some(())
    })
    .await;
    let id = pool.parse().unwrap();
    assert!(codes::list(&running.table, &id, None, 10).await.unwrap().data.is_empty());
    assert_eq!(codes::code_pools::purge_some(&running.table, &id, 10).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_gets_through_a_bad_day() {
    let data = tempfile::tempdir().unwrap();
    let faults = Faults::seeded(11, 50, 50, 20);
    let Some(running) = platform(data.path(), false, faults).await else { return };
    let api = Api::new(running.credentials.clone());
    // Retries as any client does.
    let pool = eventually(|| async {
        let made = api.post("/code-pools", json!({ "name": "x" })).await;
        (made.status == 201).then(|| made.id())
    })
    .await;
    let key = format!("imports/{pool}/codes.csv");
    running.bucket.write(&key, rows(3000).into_bytes()).await.unwrap();
    let done = patiently(Duration::from_secs(120), || async {
        let imports = api.get(&format!("/code-pools/{pool}/imports")).await;
        let import = imports.json["data"][0].clone();
        (import["status"] == "completed").then_some(import)
    })
    .await;
    assert_eq!((&done["added"], &done["duplicates"]), (&json!(3000), &json!(0)), "{done}");
}
