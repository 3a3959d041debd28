"""Changes for pull requests, as new text by file."""

import re

from fake_github import FakeGitHub

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
CITY = "models/retail/rpt_net_revenue_by_city.sql"
STATE = "models/retail/rpt_net_revenue_by_state.sql"
COUNTRY_TEST = "tests/models/retail/test_rpt_net_revenue_by_country.yaml"
ENROLLMENTS = "models/edtech/rpt_student_enrollments.sql"
ENROLLMENTS_TEST = "tests/models/edtech/test_rpt_student_enrollments.yaml"

Files = dict[str, str | None]


def edited(github: FakeGitHub, file: str, old: str, new: str, *, times: int = 1) -> Files:
    """`file` of main, with `old` replaced by `new`. `old` has to occur `times` times."""
    text = github.git("show", f"main:{file}") + "\n"
    assert text.count(old) == times, f"{old!r} occurs {text.count(old)} times in {file}, not {times}"
    return {file: text.replace(old, new)}


def renamed_courses(github: FakeGitHub) -> Files:
    """Append `!` to course names in a mart with personal data. Its unit test expects the old names."""
    return edited(github, ENROLLMENTS, "courses.course_name::VARCHAR", "(courses.course_name || '!')::VARCHAR")


def renamed_courses_in_test(github: FakeGitHub) -> Files:
    """The unit test that expects the new names."""
    text = github.git("show", f"main:{ENROLLMENTS_TEST}") + "\n"
    inputs_and_outputs = [part.split("outputs:") for part in text.split("\n\n")]
    return {
        ENROLLMENTS_TEST: "\n\n".join(
            f"{inputs}outputs:{outputs.replace('Calculus I', 'Calculus I!')}" for inputs, outputs in inputs_and_outputs
        )
    }


def undescribed_column(github: FakeGitHub) -> Files:
    """Remove the description of a column, which the linter rejects."""
    return edited(github, COUNTRY, " /* Shipping in USD */", "")


def missing_province(github: FakeGitHub) -> Files:
    """Drop the sales of a province from the totals. No unit test finds it, but an audit does."""
    return edited(github, CITY, "GROUP BY", "WHERE\n  locations.province <> 'Manitoba'\nGROUP BY")


def three_models(github: FakeGitHub) -> Files:
    """Change three marts that no other model reads."""
    where = "WHERE\n  COALESCE(sales.location_id, '') <> 'nowhere'\nGROUP BY"
    return {
        name: text for file in (CITY, STATE, COUNTRY) for name, text in edited(github, file, "GROUP BY", where).items()
    }


def added_column(github: FakeGitHub, name: str) -> Files:
    """Add a column to a mart without downstream models, and to its unit test. It equals line_count."""
    first = "COUNT(DISTINCT sales.order_id)::INT"
    test = github.git("show", f"main:{COUNTRY_TEST}") + "\n"
    expected, rows = re.subn(r"^( +)line_count: (\d+)$", rf"\g<0>\n\1{name}: \2", test, flags=re.MULTILINE)
    assert rows
    return {
        **edited(github, COUNTRY, first, f"COUNT(*)::INT AS {name}, /* Lines sold */\n  {first}"),
        COUNTRY_TEST: expected,
    }


def equivalent_credits(github: FakeGitHub) -> Files:
    """Write a column as an equivalent expression, in a mart that the other changes don't affect."""
    return edited(github, ENROLLMENTS, "courses.credits::INT", "(courses.credits + 0)::INT")


def columns_of_country(github: FakeGitHub) -> set[str]:
    """The columns of the mart of `added_column` on main, in upper case as on Snowflake."""
    return {name.upper() for name in re.findall(r"AS (\w+),? /\*", github.git("show", f"main:{COUNTRY}"))}
