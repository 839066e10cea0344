"""The migrations that the package carries."""

from pathlib import Path

from order_service.storage.migration_files import migration_files

MIGRATIONS = Path(__file__).parents[3] / "migrations"


def test_the_package_carries_every_migration_of_the_repository_in_order() -> None:
    names = [name for name, _ in migration_files()]

    assert names == sorted(file.name for file in MIGRATIONS.glob("*.sql"))
    assert names[0].startswith("0001_")


def test_a_migration_is_carried_word_for_word() -> None:
    assert dict(migration_files()) == {file.name: file.read_text() for file in MIGRATIONS.glob("*.sql")}
