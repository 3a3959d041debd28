"""Changes that pull requests bring, as files to their new text."""

import re

from fake_github import FakeGitHub

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
COUNTRY_TEST = "tests/models/retail/test_rpt_net_revenue_by_country.yaml"
ENROLLMENTS = "models/edtech/rpt_student_enrollments.sql"
ENROLLMENTS_TEST = "tests/models/edtech/test_rpt_student_enrollments.yaml"

Files = dict[str, str | None]


def edited(github: FakeGitHub, file: str, old: str, new: str, *, times: int = 1) -> Files:
    """`file` as it stands on main, with `new` for `old`, which has to stand there so often."""
    text = github.git("show", f"main:{file}") + "\n"
    assert text.count(old) == times, f"{old!r} stands {text.count(old)} times in {file}"
    return {file: text.replace(old, new)}


def shouted_courses(github: FakeGitHub) -> Files:
    """Titles of courses with a `!`, in a mart with people's names; its unit test expects them as they were."""
    return edited(github, ENROLLMENTS, "courses.course_name::VARCHAR", "(courses.course_name || '!')::VARCHAR")


def shouted_courses_in_test(github: FakeGitHub) -> Files:
    """What the unit test then has to expect."""
    text = github.git("show", f"main:{ENROLLMENTS_TEST}") + "\n"
    inputs_and_outputs = [part.split("outputs:") for part in text.split("\n\n")]
    return {
        ENROLLMENTS_TEST: "\n\n".join(
            f"{inputs}outputs:{outputs.replace('Calculus I', 'Calculus I!')}" for inputs, outputs in inputs_and_outputs
        )
    }


def undescribed_column(github: FakeGitHub) -> Files:
    """What the linter rejects."""
    return edited(github, COUNTRY, " /* Shipping in USD */", "")


def missing_province(github: FakeGitHub) -> Files:
    """What no unit test sees, but an audit does: a province whose sales fall out of the totals."""
    return edited(github, COUNTRY, "GROUP BY", "WHERE\n  states.province <> 'Manitoba'\nGROUP BY")


def three_models(github: FakeGitHub) -> Files:
    """A change to a mart that has to be built anew, as have the two that sum it."""
    return edited(
        github,
        "models/retail/rpt_net_revenue_by_city.sql",
        "GROUP BY",
        "WHERE\n  COALESCE(days.location_id, '') <> 'nowhere'\nGROUP BY",
    )


def another_column(github: FakeGitHub, name: str) -> Files:
    """A column more in a mart that nothing reads, and in its unit test."""
    first = "SUM(states.order_count)::INT"
    inputs, outputs = (github.git("show", f"main:{COUNTRY_TEST}") + "\n").split("outputs:")
    expected = outputs.replace("order_count: 5", f"order_count: 5\n          {name}: 2")
    expected = expected.replace(", order_count: 1", f", {name}: 1, order_count: 1")
    return {
        **edited(github, COUNTRY, first, f"COUNT(*)::INT AS {name}, /* Provinces or states */\n  {first}"),
        COUNTRY_TEST: f"{inputs}outputs:{expected}",
    }


def credits_anew(github: FakeGitHub) -> Files:
    """The same figures, said otherwise, in a mart that is far from the other changes."""
    return edited(github, ENROLLMENTS, "courses.credits::INT", "(courses.credits + 0)::INT")


def columns_of_country(github: FakeGitHub) -> set[str]:
    """The columns of that mart on main, in capitals as Snowflake has them."""
    return {name.upper() for name in re.findall(r"AS (\w+),? /\*", github.git("show", f"main:{COUNTRY}"))}
