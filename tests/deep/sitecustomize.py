"""For the tests' environment: torchvision's operators by name, where its build does not fit torch's.

No CPU build of torchvision is on the package index, and beside torch for the CPU it fails at import: "operator
torchvision::nms does not exist". Declared, the names are there; none of them is ever called. `make deep` copies this
file into its environment, so that every process there has it. Users have builds that fit.
"""
import sys

_NAMES = ("nms qnms roi_align qroi_align _roi_align_backward roi_pool _roi_pool_backward ps_roi_align "
          "_ps_roi_align_backward ps_roi_pool _ps_roi_pool_backward deform_conv2d _deform_conv2d_backward").split()


class _Declare:
    "Comes before torchvision is looked for, once."
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not hasattr(self, "library"):
            self.library = None
            import torch
            if "+cpu" in torch.__version__:
                self.library = torch.library.Library("torchvision", "DEF")
                for operator in _NAMES:
                    self.library.define(f"{operator}(Tensor x) -> Tensor")
        return None


sys.meta_path.insert(0, _Declare())
