//! Cold and warm starts of the claim and the join: those of the Rust functions, of peers on Node.js, and of a minimal
//! program (`bench/floor`).
//!
//! `cold-start [<directory>]`: the directory has the functions that cargo-lambda built; the default is
//! `target/lambda`. `STARTS` (40) and `CALLS` (2000) set the numbers of cold starts and of warm calls,
//! `DYNAMODB_MS` (0) the time that DynamoDB takes for an answer.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use cold_start::{
    Failure,
    canned::Canned,
    contest::Contest,
    dynamodb, package,
    process::Launch,
    report::{self, Measured},
};

/// The claim and the join: function, event, and name of the recording and of the peer.
const CONTESTS: [(&str, &str, &str); 2] =
    [("code-distribution", "code-distribution-claim", "claim"), ("subscriber", "subscriber-join", "join")];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("missed: {}", missed.join("; "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, default: usize) -> Result<usize, Failure> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().map_err(|_| format!("{name}: {text}").into()))
}

async fn run() -> Result<Vec<String>, Failure> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..").canonicalize()?;
    let lambda = std::env::args_os().nth(1).map_or_else(|| root.join("target/lambda"), PathBuf::from);
    let lambda = lambda.canonicalize().map_err(|error| format!("{}: {error}", lambda.display()))?;
    let (starts, calls) = (number("STARTS", 40)?, number("CALLS", 2000)?);
    let delay = Duration::from_millis(number("DYNAMODB_MS", 0)? as u64);
    let scratch = tempfile::tempdir()?;
    let certificate = scratch.path().join("authority.pem");
    let tls = dynamodb::authority(&certificate)?;
    let node = Node::find(here)?;
    println!("{}, {starts} cold starts and {calls} warm calls of each", machine(&node));
    println!("DynamoDB answers after {delay:?}\n");

    let mut missed = Vec::new();
    for (function, event, name) in CONTESTS {
        let canned = Canned::read(&here.join(format!("canned/{name}.json")))?;
        let event = canned.event(&std::fs::read_to_string(root.join(format!("events/{event}.json")))?);
        let contest = Contest { canned, event: event.into(), tls: tls.clone(), delay };
        let ours = Launch {
            program: lambda.join(function).join("bootstrap"),
            arguments: Vec::new(),
            directory: lambda.join(function),
            environment: environment(&certificate, "bootstrap"),
        };
        let peer = node.launch(name, &certificate);
        let zipped =
            [package::zipped(&ours.program)?, package::zipped(&peer.directory.join(format!("{name}.cjs")))?];
        let script = scratch.path().join(name);
        std::fs::write(&script, contest.canned.script())?;
        let mut floor = Launch {
            program: lambda.join("floor/bootstrap"),
            arguments: Vec::new(),
            directory: lambda.join("floor"),
            environment: environment(&certificate, "bootstrap"),
        };
        floor.environment.push(("FLOOR_SCRIPT".to_owned(), script.display().to_string()));
        let mut cold = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..starts {
            for (launch, cold) in [&ours, &peer, &floor].into_iter().zip(&mut cold) {
                cold.push(contest.cold(launch).await.map_err(|error| failed(launch, &error))?);
            }
        }
        let warm = contest.warm([&ours, &peer], calls).await.map_err(|error| format!("{name}: {error}"))?;
        let ([cold, colds, least], [warm, warms], [size, sizes]) = (cold, warm, zipped);
        let ours = Measured { cold, warm, zipped: size };
        let peer = Measured { cold: colds, warm: warms, zipped: sizes };
        missed.extend(report::contest(name, &ours, &peer));
        missed.extend(report::floor(name, &ours, &least));
    }
    missed.extend(report::sizes(&functions(&root, &lambda)?));
    Ok(missed)
}

fn failed(launch: &Launch, error: &Failure) -> String {
    format!("{} {}: {error}", launch.program.display(), launch.arguments.join(" "))
}

/// Returns the variables that Lambda and the template set, and the certificate to trust.
fn environment(certificate: &Path, handler: &str) -> Vec<(String, String)> {
    let certificate = certificate.to_string_lossy();
    let set = [
        ("AWS_CA_BUNDLE", &*certificate),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLEEX"),
        ("AWS_SECRET_ACCESS_KEY", "ExampleExampleExampleExampleExampleExamp"),
        ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEEXAMPLE"),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[1]8476a536e9f4"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("ENVIRONMENT", "dev"),
        ("LOG_LEVEL", "info"),
        ("PUBLIC_URL", "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/dev"),
        ("BUCKET_NAME", "bench"),
        ("_HANDLER", handler),
        // Suppresses a warning of the SDK about Node.js 20, whose output would be measured too.
        ("AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED", "true"),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Node.js and the peers that run on it.
struct Node {
    program: PathBuf,
    version: String,
    peers: PathBuf,
}

impl Node {
    fn find(here: &Path) -> Result<Self, Failure> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|directory| directory.join("node"));
        let program = program.into_iter().find(|program| program.is_file()).ok_or("there is no node")?;
        let version = std::process::Command::new(&program).arg("--version").output()?.stdout;
        let version = String::from_utf8(version)?.trim().to_owned();
        if !version.starts_with("v20.") {
            return Err(format!("{} is Node.js {version}, not 20", program.display()).into());
        }
        Ok(Self { program, version, peers: here.join("peer") })
    }

    fn launch(&self, name: &str, certificate: &Path) -> Launch {
        let handler = format!("{name}.handler");
        let client = self.peers.join("node_modules/aws-lambda-ric/bin/index.mjs");
        Launch {
            program: self.program.clone(),
            arguments: vec![client.display().to_string(), handler.clone()],
            directory: self.peers.join("dist"),
            environment: environment(certificate, &handler),
        }
    }
}

fn machine(node: &Node) -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores, Node.js {}", model.unwrap_or("unknown processor"), node.version)
}

/// Returns all functions with the sizes of their zip files.
fn functions(root: &Path, lambda: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(root.join("functions"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let bytes = package::zipped(&lambda.join(&name).join("bootstrap"))?;
        sizes.push((name, bytes));
    }
    sizes.sort();
    Ok(sizes)
}
