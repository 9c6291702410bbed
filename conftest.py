"""Import both packages first, so that no module is imported twice whichever file pytest collects first."""

import bilevel  # noqa: F401
import games  # noqa: F401
