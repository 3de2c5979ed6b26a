"""What can be asked of the time-series domain."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from unnoise.specs import Files


class Request(BaseModel):
    """Fields of `unnoise.generate("timeseries", ...)`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    data: Annotated[Any, Files((".csv", ".parquet", ".xlsx"))] = Field(
        description="the series: a DataFrame, or a CSV, parquet or Excel file; missing cells are"
        " filled"
    )
    horizon: int = Field(0, ge=0, le=10**6, description="rows to forecast after the last one")
    time: str | list[str] | None = Field(
        None, description="the column of times in a file, or its year, month, day and hour columns"
    )
    freq: str | None = Field(
        None, description="put in the rows that are missing altogether; default: as in training"
    )
    series: str | None = Field(None, description="the column that names the series of a panel")
