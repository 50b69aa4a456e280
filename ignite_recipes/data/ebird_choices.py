"""What is counted as a species, and which checklists and species are kept: the choices, with what they must be."""

from dataclasses import replace
from typing import NamedTuple

from ignite_recipes.arguments import listed, shown
from ignite_recipes.data.ebird_filters import ChecklistFilters

__all__ = ["Choices"]

RANKS = ("species", "subspecies", "genus")
SHARED = ("first", "union", "all")
GOOD_PROTOCOLS = ("Traveling", "Stationary")


class Choices(NamedTuple):
    """What is counted as a species, and which checklists and species are kept."""

    min_species_observations: int | None
    min_checklist_species: int | None
    taxon_rank: str | None
    drop_higher: bool
    shared_checklists: str
    filters: ChecklistFilters

    @classmethod
    def of_arguments(
        cls,
        min_species_observations: int | None,
        min_checklist_species: int | None,
        apply_quality_filters: bool,
        taxon_rank: str | None,
        drop_higher: bool,
        shared_checklists: str | None,
        filters: ChecklistFilters,
    ) -> "Choices":
        """Those that the arguments of :func:`create_species_matrix` make.

        Raises:
            ValueError: if one makes no sense.
        """
        for name, unit, value in (
            ("min_species_observations", "checklists", min_species_observations),
            ("min_checklist_species", "species", min_checklist_species),
        ):
            if value is not None and not value >= 0:
                raise ValueError(
                    f"{name}, a number of {unit}, must not be negative; got {value}: None switches this filter off"
                )
        for name, choice, known in (
            ("taxon_rank", taxon_rank, RANKS),
            ("shared_checklists", shared_checklists, SHARED),
        ):
            if choice is not None and choice not in known:
                raise ValueError(f"{name} must be one of {listed(known)}, or None; got {shown(choice)}")
        if apply_quality_filters:
            taxon_rank = taxon_rank or RANKS[0]
            is_open = filters.complete_only is None
            filters = replace(
                filters,
                protocols=GOOD_PROTOCOLS if filters.protocols is None else filters.protocols,
                complete_only=True if is_open else filters.complete_only,
            )
        shared = shared_checklists or ("first" if apply_quality_filters else "all")
        return cls(min_species_observations, min_checklist_species, taxon_rank, drop_higher, shared, filters)
