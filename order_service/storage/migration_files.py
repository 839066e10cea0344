"""The files of `migrations/`, wherever the package was installed to.

`order_service/migrations` is a link to that folder in the repository, and a folder with the files in a wheel.
"""

from importlib.resources import files


def migration_files() -> list[tuple[str, str]]:
    """Name and text of each migration, in the order in which they are applied."""
    folder = files("order_service").joinpath("migrations")
    return sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".sql"))
