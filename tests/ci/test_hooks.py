"""Hooks work without a network and without an activated environment, and each catches a planted fault."""

import codecs
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from workspace import PARTS

# Concatenated, so that the hooks that search for them pass this file.
PEM = "-----BEGIN {}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END {}PRIVATE KEY-----\n"
AWS = "AKIA" + "IOSFODNN7EXAMPL3"
VALUE = "Winter-" + "2026-is-here"
# In rot13, so that the hook passes this file.
RETIRED = codecs.decode(
    "ynaq,ynaqf,ynaqrq,ynaqvat,haynaqrq,ernq_sebz,ernq_hagvy,yrqtre,ireqvpg,whqtrq,whqtrf,ershfrq,ershfrf,"
    "ershfny,vag_k_purpxrq,pbcl_ahzore,gbhpurq,hagbhpurq,vf_gbhpurq,bqq,bqq_ebjf,inavfurq,gbzofgbar,jubyr,narj,"
    "cynpr,cynprf,fgnyr,fgnaqf fgvyy,fgbccrq zbivat,zrfusybj nfx,nfxf,nfxrq,gur yvzvg,crre,fvqrf,qveg,qvegl,"
    "fbvy,jbeyq,zraqrq,ibvq,zbzrag,nccyvpngvba,nccyvpngvbaf,Gehfg cntr,fcbxra,urnyrq,yvir ebjf,tenva_vf_havdhr,"
    "arire_ahyy,inyhrf_ner_npprcgrq,ersreraprf_rkvfg,ebjf_ner_pbafreirq,gbgnyf_nterr,arire_punatrf,"
    "yvir_ebjf_ubyq,zbarl_vf_arg,fpq2_enatrf_ner_jubyr,pynff Crbcyr,pynff Znpuvarf,pynff Jngpure,pynff Ohfl,"
    "XRCG,YNPXVAT,**Dhrfgvba.**,**Snpgf.**,**Cevpr.**,## Cevpr",
    "rot13",
).split(",")
OTHER_PROJECTS = (
    "application/json",
    "application_name",
    "serverless-application-model",
    "side_effect",
    "node.side",
    "places=6",
    "data-stale=true",
    "dismiss_stale_reviews_on_push",
    '"dirty"',
    "Netherlands, Iceland",
    "kept, people, machines",
    "sidebar, placeholder, replace, background",
)
WORKFLOW = "on: push\njobs: {{a: {{runs-on: ubuntu-24.04, steps: [{{{}}}]}}}}\n"
CONFLICT = "<" * 7 + " HEAD\nmine\n" + "=" * 7 + "\ntheirs\n" + ">" * 7 + " change\n"

FAULTS = [
    ("trailing-whitespace", "docs/page.md", "a line \n", "docs/page.md"),
    ("end-of-file", "docs/page.md", "a line", "docs/page.md"),
    ("ruff-check", "src/meshflow/planted.py", "print(1)\n", "T201"),
    ("ruff-format", "src/meshflow/planted.py", "x = { 1:2 }\n", "reformatted"),
    ("mypy", "src/meshflow/planted.py", "x: int = 'one'\n", "src/meshflow/planted.py:1"),
    ("sqlmesh-format", "audits/planted.sql", "AUDIT (name planted); select 1 from t where x", "modified by this hook"),
    ("sqlmesh-lint", "models/retail/rpt_planted.sql", "MODEL (name retail.rpt_planted); SELECT 1 AS x", "hasunittest"),
    ("yaml", "planted.yml", "a: [1\n", "planted.yml"),
    ("toml", "planted.toml", "a = \n", "planted.toml"),
    ("json", "planted.json", "{'a': 1}\n", "planted.json"),
    ("actionlint", ".github/workflows/ci.yml", WORKFLOW.format("run: a, us: b"), '"us"'),
    ("zizmor", ".github/workflows/ci.yml", WORKFLOW.format("uses: a/b@v1"), "unpinned-uses"),
    ("zizmor", ".github/workflows/ci.yml", "on: push\njobs: {a: {steps: []}}\n", "failed to"),
    ("workflow-schema", ".github/workflows/ci.yml", "on: push\njobs: {a: {runs-on: x, timeout: 1}}\n", "timeout"),
    ("action-schema", ".github/actions/a/action.yml", "name: x\nruns: {using: composite}\n", "description"),
    ("dependabot-schema", ".github/dependabot.yml", "version: 2\nupdates: [{directory: /}]\n", "package-ecosystem"),
    ("issue-form-schema", ".github/ISSUE_TEMPLATE/bug.yml", "name: x\ndescription: y\n", "body"),
    ("issue-config-schema", ".github/ISSUE_TEMPLATE/config.yml", "blank_issues: true\n", "blank_issues"),
    ("secrets", "docs/key.md", PEM.format("", ""), "Private Key"),
    ("secrets", "src/meshflow/planted.py", f'key = "{AWS}"\n', "AWS Access Key"),
    ("secrets", "planted.yaml", f"snowflake:\n  password: {VALUE}\n", "Secret Keyword"),
    ("secrets", "src/meshflow/planted.py", f'connect(user="CI", password="{VALUE}")\n', "Secret Keyword"),
    ("keys-and-env", "docs/key.md", PEM.format("ENCRYPTED ", "ENCRYPTED "), "docs/key.md"),
    ("keys-and-env", "prod.env", f"MESHFLOW_STATE_PASSWORD={VALUE}\n", "prod.env"),
    ("retired-words", "docs/page.md", f"The {RETIRED[6]} of loads.\n", "docs/page.md"),
    ("merge-conflict", "docs/page.md", CONFLICT, "docs/page.md"),
    ("large-files", "seeds/planted.csv", "x" * 520_000, "seeds/planted.csv"),
]  # fmt: skip

UNCHANGED = [
    "retired-words",
    "ruff-check",
    "actionlint",
    "zizmor",
    "secrets",
    "keys-and-env",
    "merge-conflict",
    "large-files",
]
"""Quick hooks that check complete files and have files to check in the project."""

MYPY_CACHE = str(Path(__file__).parents[2] / ".mypy_cache")
"""The cache of `make lint`. Without it, mypy reads SQLMesh for 20 s."""


def run(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the clone, without an activated environment, a writable home or a reachable proxy."""
    unreachable = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    identity = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {
        "PATH": os.defpath, "HOME": "/nonexistent", "PRE_COMMIT_HOME": str(clone / ".cache/pre-commit"),
        "GIT_CONFIG_NOSYSTEM": "1", "MYPY_CACHE_DIR": MYPY_CACHE, **unreachable, **identity,
    }  # fmt: skip
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def run_checked(clone: Path, *command: str) -> None:
    done = run(clone, *command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cloned(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit: the current project without its Python, which would take mypy 15 s."""
    clone = tmp_path_factory.mktemp("clone")
    parts = (
        ".pre-commit-config.yaml",
        ".secrets.baseline",
        ".gitignore",
        "pyproject.toml",
        ".github",
        "docs",
        ".env.example",
    )
    for part in (*PARTS, *parts):
        source = project / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source, clone / part)
    (clone / "data").mkdir()
    (clone / "src/meshflow").mkdir(parents=True)
    (clone / ".venv").symlink_to(sys.prefix)
    run_checked(clone, "git", "init", "--quiet", "--initial-branch", "main")
    (clone / ".git/info/exclude").write_text(".venv\n__pycache__\n")
    run_checked(clone, "git", "add", "--all")
    run_checked(clone, "git", "commit", "--quiet", "--message", "The project")
    return clone


@pytest.fixture
def clone(cloned: Path) -> Iterator[Path]:
    yield cloned
    run_checked(cloned, "git", "reset", "--quiet", "--hard", "HEAD")


def plant(clone: Path, file: str, text: str) -> None:
    (clone / file).parent.mkdir(parents=True, exist_ok=True)
    (clone / file).write_text(text, encoding="utf-8")
    run_checked(clone, "git", "add", "--force", file)


def test_every_hook_comes_from_the_locked_environment_and_has_a_planted_fault_here(project: Path) -> None:
    config = YAML(typ="safe").load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    for hook in hooks:
        assert hook["language"] == "pygrep" or (hook["language"] == "system" and hook["entry"].startswith(".venv/bin/"))
    assert {hook["id"] for hook in hooks} == {hook for hook, *_ in FAULTS} | {"unit-tests"}


@pytest.mark.parametrize(("hook", "file", "text", "message"), FAULTS)
def test_a_hook_catches_a_planted_fault(hook: str, file: str, text: str, message: str, clone: Path) -> None:
    plant(clone, file, text)
    checked = run(clone, ".venv/bin/pre-commit", "run", hook, "--files", file)
    assert checked.returncode == 1
    assert message in checked.stdout
    assert "Traceback" not in checked.stdout


def test_the_hook_for_retired_words_catches_each_of_them_and_passes_names_of_other_projects(clone: Path) -> None:
    plant(clone, "docs/page.md", "".join(f"{word}\n" for word in (*OTHER_PROJECTS, *RETIRED)))
    checked = run(clone, ".venv/bin/pre-commit", "run", "retired-words", "--files", "docs/page.md")
    found = [line.split(":", 2)[2] for line in checked.stdout.splitlines() if line.startswith("docs/page.md:")]
    assert found == RETIRED


@pytest.mark.parametrize("hook", UNCHANGED)
def test_a_hook_accepts_the_committed_files(hook: str, clone: Path) -> None:
    checked = run(clone, ".venv/bin/pre-commit", "run", hook, "--all-files")
    assert checked.returncode == 0, checked.stdout


def test_installed_hooks_stop_a_commit_and_a_push(clone: Path, tmp_path: Path) -> None:
    run_checked(clone, ".venv/bin/pre-commit", "install")

    plant(clone, "docs/key.md", f"aws: {AWS}\n")
    rejected = run(clone, "git", "commit", "--message", "A key")
    assert rejected.returncode == 1
    assert "AWS Access Key" in rejected.stderr + rejected.stdout
    run_checked(clone, "git", "reset", "--quiet", "--hard")

    test = "tests/models/retail/test_dim_product.yaml"
    for other in (clone / "tests/models").rglob("*.yaml"):  # 160 more would take half a minute
        if other != clone / test:
            other.unlink()
    plant(clone, test, (clone / test).read_text(encoding="utf-8").replace("Desk Lamp", "Lamp", 1))
    run_checked(clone, "git", "commit", "--all", "--no-verify", "--quiet", "--message", "A wrong test")
    run_checked(clone, "git", "init", "--quiet", "--bare", str(tmp_path))
    pushed = run(clone, "git", "push", "--quiet", str(tmp_path), "main")
    assert pushed.returncode == 1
    assert "unit tests of models" in pushed.stdout + pushed.stderr
    assert "Expected" in pushed.stdout + pushed.stderr
    run_checked(clone, "git", "reset", "--quiet", "--hard", "HEAD~")
