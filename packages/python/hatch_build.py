"""Puts the static program into the wheel, under the tags of the systems that it runs on."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# The program is static: any glibc, and musl.
TAGS = {
    "amd64": "manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64",
    "arm64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
}


class Program(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["tag"] = f"py3-none-{TAGS[os.environ['REDCAR_ARCH']]}"
        build_data["pure_python"] = False
        build_data["shared_scripts"] = {
            os.environ["REDCAR_PROGRAM"]: "redcar",
            os.path.join(self.root, "proxy"): "proxy",
        }


class Version(MetadataHookInterface):
    def update(self, metadata):
        metadata["version"] = os.environ["REDCAR_VERSION"]
        metadata["urls"] = {"Source": os.environ["REDCAR_REPOSITORY"]}
