"""Reference data for the sample and the traffic: names, courses, products, locations, and attributes derived from ids.

The id of a customer determines name and location, the id of a product name and price. So independent generators write
consistent rows without a lookup table. Attributes have the names of the source columns.
"""

from decimal import Decimal
from typing import NamedTuple
from zlib import crc32

FIRST_NAMES = (
    "Aisha", "Amélie", "Anneke", "Bram", "Carmen", "Chloé", "Daan", "Elena", "Fatima", "François", "Hiroshi", "Inés",
    "Jeroen", "José", "Koffi", "Lotte", "Lucía", "Mateo", "Mei", "Noah", "Olivia", "Priya", "Sanne", "Søren", "Thijs",
    "Yusuf", "Zoë",
)  # fmt: skip
LAST_NAMES = (
    "Bakker", "Bouchard", "Chen", "Côté", "de Vries", "Díaz", "El Amrani", "Fernández", "García", "Gagnon", "Iyer",
    "Jansen", "Kowalski", "MacDonald", "Muñoz", "Nguyễn", "O'Brien", "Okafor", "Peeters", "Sánchez", "Smith", "Tanaka",
    "Tremblay", "van den Berg", "Visser", "Yılmaz",  # noqa: RUF001 - the Turkish i without a dot
)  # fmt: skip
GENDERS = ("Female", "Female", "Female", "Male", "Male", "Male", "Non-binary", None)

COURSE_NAMES = (
    "Algebra, from Scratch", "Analytics Engineering", "Academic Writing", "Bayesian Statistics", "Biology I",
    "Calculus I", "Calculus II", "Cloud Foundations", "Data Modelling", "Databases", "Deep Learning", "Econometrics",
    "French for Beginners", "Genetics", 'Public Speaking: "Say It Well"', "History of Science", "Linear Algebra",
    "Machine Learning", "Microeconomics", "Organic Chemistry", "Philosophy of Mind", "Programming in Python",
    "Software Testing", "Statistics", "Thesis Seminar", "Web Design",
)  # fmt: skip
COURSE_DAYS = (48, 90, 118)
CREDITS = (3, 3, 3, 4, 4, 4, 5, 2)

PRODUCTS = (
    ("Espresso Machine", "Kitchen", "249.00"), ("Kettle", "Kitchen", "39.95"), ("Chef's Knife", "Kitchen", "64.50"),
    ("Cast-Iron Pan", "Kitchen", "54.99"), ("Desk Lamp", "Home", "29.90"), ("Wool Blanket", "Home", "79.00"),
    ("Bookshelf", "Home", "119.00"), ('Picture Frame, 8"', "Home", "12.49"), ("Headphones", "Electronics", "189.99"),
    ("Keyboard", "Electronics", "94.95"), ('Monitor 27"', "Electronics", "329.00"),
    ("USB-C Cable", "Electronics", "9.99"),
    ("Trail Shoes", "Sports", "124.95"), ("Yoga Mat", "Sports", "34.00"), ("Water Bottle", "Sports", "19.75"),
    ("Rain Jacket", "Sports", "149.00"), ("Novel", "Books", "14.99"), ("Cookbook", "Books", "32.00"),
    ("Atlas", "Books", "48.00"), ("Notebook", "Books", "6.25"),
)  # fmt: skip
VARIANTS = {
    "Kitchen": (("", "Compact", "Large", "Professional"), ("", "Black", "Cream", "Copper")),
    "Home": (("", "Small", "Large", "Extra Large"), ("", "Oak", "White", "Sage")),
    "Electronics": (("", "Lite", "Plus", "Pro"), ("", "Black", "Silver", "Blue")),
    "Sports": (("", "Junior", "Long", "Light"), ("", "Red", "Navy", "Olive")),
    "Books": (("", "Paperback", "Hardcover", "Illustrated"), ("", "French", "Spanish", "Dutch")),
}
"""Edition and look by product category; the plain product has neither, hence the empty strings."""
LOCATIONS = (
    ("Toronto", "Ontario", "Canada"), ("Ottawa", "Ontario", "Canada"), ("Montréal", "Québec", "Canada"),
    ("Trois-Rivières", "Québec", "Canada"), ("Vancouver", "British Columbia", "Canada"),
    ("Calgary", "Alberta", "Canada"),
    ("Winnipeg", "Manitoba", "Canada"), ("Halifax", "Nova Scotia", "Canada"),
    ("St. John's", "Newfoundland and Labrador", "Canada"),
    ("Amsterdam", "Noord-Holland", "Netherlands"), ("Haarlem", "Noord-Holland", "Netherlands"),
    ("Rotterdam", "Zuid-Holland", "Netherlands"), ("'s-Gravenhage", "Zuid-Holland", "Netherlands"),
    ("'s-Hertogenbosch", "Noord-Brabant", "Netherlands"), ("Utrecht", "Utrecht", "Netherlands"),
    ("Groningen", "Groningen", "Netherlands"), ("Madrid", "Madrid", "Spain"), ("Barcelona", "Barcelona", "Spain"),
    ("Sevilla", "Sevilla", "Spain"), ("Málaga", "Málaga", "Spain"), ("València", "Valencia", "Spain"),
    ("A Coruña", "A Coruña", "Spain"), ("Bilbao", "Bizkaia", "Spain"),
)  # fmt: skip
QUANTITIES = (1, 1, 1, 2, 3, 5)
LINES_PER_ORDER = (1, 1, 1, 2, 2, 3)
DISCOUNTS = ("0", "0", "0", "0.05", "0.1", "0.15", "0.3")
SHIPPING_COSTS = ("0", "4.95", "7.5", "12")

NAME_COUNT = len(FIRST_NAMES) * len(LAST_NAMES)
PRODUCT_COUNT = 16 * len(PRODUCTS)
"""Product ids start at 1: first the plain PRODUCTS, then their variants."""


class Product(NamedTuple):
    product: str
    product_category: str
    list_price: Decimal
    """Per unit in USD, two decimals."""


class Customer(NamedTuple):
    cust_name: str
    city: str
    province: str
    country: str


class Student(NamedTuple):
    first_name: str
    last_name: str
    email: str
    gender: str | None


class Course(NamedTuple):
    course_name: str
    instructor_name: str
    credits: int


def product(product_id: int) -> Product:
    """The product with this id, 1 to PRODUCT_COUNT. Variant n costs n * 4 % more than the plain one, rounded."""
    variant, plain = divmod(product_id - 1, len(PRODUCTS))
    name, category, price = PRODUCTS[plain]
    editions, looks = VARIANTS[category]
    edition, look = divmod(variant, len(looks))
    return Product(
        product=", ".join(filter(None, (name, editions[edition], looks[look]))),
        product_category=category,
        list_price=Decimal(price) + Decimal(price) * variant // 25,
    )


def customer(customer_id: int) -> Customer:
    location, name = divmod(_number("customer", customer_id), NAME_COUNT)
    return Customer(" ".join(_name(name)), *LOCATIONS[location % len(LOCATIONS)])


def student(student_id: int) -> Student:
    gender, name = divmod(_number("student", student_id), NAME_COUNT)
    first_name, last_name = _name(name)
    return Student(first_name, last_name, email(student_id, first_name, last_name), GENDERS[gender % len(GENDERS)])


def course(course_id: int) -> Course:
    """The course with this id. COURSE_NAMES repeat, with another instructor and the same credits."""
    name = (course_id - 1) % len(COURSE_NAMES)
    instructor = _number("instructor", course_id) % NAME_COUNT
    return Course(COURSE_NAMES[name], " ".join(_name(instructor)), CREDITS[name % len(CREDITS)])


def email(student_id: int, first_name: str, last_name: str) -> str:
    return f"{first_name}.{last_name}{student_id}@example.org".lower().replace(" ", "").replace("'", "")


def _name(number: int) -> tuple[str, str]:
    return FIRST_NAMES[number // len(LAST_NAMES)], LAST_NAMES[number % len(LAST_NAMES)]


def _number(kind: str, key: int) -> int:
    """A pseudo-random number of 32 bits; unlike hash() it is the same in every process."""
    return crc32(f"{kind} {key}".encode())
