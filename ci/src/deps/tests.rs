//! Made-up graphs: each that breaks a rule is refused, with the rule's name.

use super::check::check;
use super::graph::{Dependency, Package, Target};

fn package(folder: &str, to: &[&str]) -> Package {
    let name = match folder {
        "platforms/unikernel" => "ebbtide".into(),
        other => format!("ebbtide-{}", other.replace('/', "-")),
    };
    let depend = |folder: &&str| Dependency {
        name: folder.replace('/', "-"),
        target: Target::Inside((*folder).into()),
        kind: "",
    };
    Package { name, folder: folder.into(), dependencies: to.iter().map(depend).collect(), ..Package::default() }
}

fn rules(packages: &[Package]) -> Vec<&'static str> {
    check(packages).iter().map(|finding| finding.rule).collect()
}

#[test]
fn the_drawn_arrows_are_allowed() {
    let unikernel = [
        "core",
        "arch/x86_64",
        "arch/aarch64",
        "policies/static",
        "platforms/pc",
        "platforms/hermit",
        "platforms/virt",
    ];
    let graph = [
        package("core", &[]),
        package("policies/static", &["core"]),
        package("arch/x86_64", &["core"]),
        package("platforms/hermit", &["core", "arch/x86_64", "arch/aarch64"]),
        package("platforms/pc", &["core", "arch/x86_64"]),
        package("platforms/virt", &["core", "arch/aarch64"]),
        package("platforms/loader", &[]),
        package("platforms/loader/pack", &["platforms/loader"]),
        package("platforms/unikernel", &unikernel),
        package("examples/hello", &["platforms/unikernel"]),
        package("tests/guest/suite", &["platforms/unikernel", "core", "tests/model"]),
        package("ci", &[]),
    ];
    assert_eq!(rules(&graph), [""; 0]);
}

#[test]
fn each_forbidden_arrow_is_refused() {
    let forbidden = [
        ("core", "policies/static"),
        ("core", "arch/x86_64"),
        ("policies/static", "arch/x86_64"),
        ("policies/static", "platforms/pc"),
        ("policies/static", "policies/reclaim-on-sleep"),
        ("arch/x86_64", "policies/static"),
        ("arch/x86_64", "arch/aarch64"),
        ("arch/x86_64", "platforms/pc"),
        ("platforms/pc", "policies/static"),
        ("platforms/pc", "arch/aarch64"),
        ("platforms/virt", "arch/x86_64"),
        ("platforms/pc", "platforms/hermit"),
        ("platforms/loader", "core"),
        ("platforms/loader", "platforms/hermit"),
        ("platforms/loader/pack", "core"),
        ("platforms/unikernel", "examples/hello"),
        ("platforms/unikernel", "tests/model"),
        ("platforms/unikernel", "ci"),
        ("examples/hello", "core"),
        ("examples/hello", "examples/sleepers"),
        ("tests/model", "ci"),
        ("ci", "platforms/loader/pack"),
    ];
    for (from, to) in forbidden {
        assert_eq!(rules(&[package(from, &[to])]), ["arrow"], "{from} -> {to}");
    }
}

#[test]
fn dev_and_build_dependencies_count_as_arrows() {
    for kind in ["dev-", "build-"] {
        let mut core = package("core", &["tests/model"]);
        core.dependencies[0].kind = kind;
        let findings = check(&[core]);
        assert_eq!(findings.len(), 1, "{kind}");
        assert!(findings[0].text.contains(kind), "{}", findings[0].text);
    }
}

#[test]
fn a_path_outside_the_repository_is_refused() {
    let mut package = package("tests/model", &[]);
    package.dependencies.push(Dependency {
        name: "other".into(),
        target: Target::Outside("/elsewhere/other".into()),
        kind: "",
    });
    assert_eq!(rules(&[package]), ["outside"]);
}

#[test]
fn ours_from_elsewhere_is_refused() {
    let mut package = package("policies/static", &["core"]);
    package.dependencies.push(Dependency {
        name: "ebbtide-core".into(),
        target: Target::Fetched("git+https://example.org/ebbtide".into()),
        kind: "",
    });
    assert_eq!(rules(&[package]), ["fetched"]);
}

#[test]
fn manifests_name_what_is_fetched_and_targeted() {
    let root = tempfile::tempdir().expect("a folder");
    let manifest = "[package]\nname = \"a\"\nversion = \"0.1.0\"\n[workspace]\n\
        [dependencies]\nmine = { package = \"ebbtide-core\", version = \"1\" }\nother = \"1\"\n\
        [target.'cfg(target_arch = \"x86_64\")'.dependencies]\nx86 = \"1\"\n";
    crate::files::write(&root.path().join("Cargo.toml"), manifest).expect("written");
    crate::files::write(&root.path().join("src/lib.rs"), "").expect("written");
    let packages = super::graph::read(root.path()).expect("a manifest");
    let [dependency] = &packages[0].dependencies[..] else { panic!("{packages:?}") };
    assert!(matches!(&dependency.target, Target::Fetched(from) if from.contains("registry")), "{dependency:?}");
    assert_eq!(packages[0].targeted, [("x86".to_owned(), "cfg(target_arch = \"x86_64\")".to_owned())]);
}

#[test]
fn portable_packages_ask_for_no_machine() {
    let conditions = [("cfg(target_arch = \"x86_64\")", 1), ("x86_64-unknown-none", 1), ("cfg(loom)", 0)];
    for (condition, expected) in conditions {
        for (folder, counts) in [("core", 1), ("policies/new", 1), ("platforms/loader", 0)] {
            let mut package = package(folder, &[]);
            package.targeted.push(("x86".into(), condition.into()));
            assert_eq!(rules(&[package]), vec!["target"; expected * counts], "{folder}: {condition}");
        }
    }
}

#[test]
fn features_stay_in_the_composition_root() {
    for (folder, expected) in [("platforms/unikernel", 0), ("core", 1), ("policies/static", 1), ("examples/hello", 1)] {
        let mut package = package(folder, &[]);
        package.features.push("fast".into());
        assert_eq!(rules(&[package]).len(), expected, "{folder}");
    }
}

#[test]
fn a_package_called_core_is_refused() {
    let mut package = package("core", &[]);
    package.name = "core".into();
    assert_eq!(rules(&[package]), ["name"]);
}

#[test]
fn a_folder_without_a_rule_is_refused() {
    assert_eq!(rules(&[package("tools/new", &[])]), ["folder"]);
    assert_eq!(rules(&[package("platforms/loader/more", &[])]), ["folder"]);
}

#[test]
fn the_repository_itself_is_clean() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ci lies in the repository");
    let packages = super::graph::read(root).expect("the manifests can be read");
    assert!(packages.iter().any(|package| package.folder == "core"));
    assert_eq!(check(&packages), []);
}
