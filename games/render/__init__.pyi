from ._pen import AGENTS as AGENTS
from ._pen import INK as INK
from ._pen import Pen as Pen
from ._pen import captioned as captioned
from ._pen import draw_table as draw_table
from ._pen import framed as framed
from ._pen import resized as resized
from ._window import FrameWindow as FrameWindow
