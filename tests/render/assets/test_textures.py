"""Texture sets from file names, as the common libraries write them."""

from pathlib import Path

import pytest

from render.assets.textures import split_role, texture_sets


@pytest.mark.parametrize(
    ("stem", "name", "role"),
    [
        ("Metal032_1K-JPG_Color", "metal032_1k-jpg", "colour"),  # ambientCG
        ("Metal032_1K-JPG_NormalGL", "metal032_1k-jpg", "normal"),
        ("Metal032_1K-JPG_NormalDX", "metal032_1k-jpg", "normal-dx"),
        ("Metal032_1K-JPG_AmbientOcclusion", "metal032_1k-jpg", "ao"),
        ("Metal032_1K-JPG_Metalness", "metal032_1k-jpg", "metallic"),
        ("rusty_metal_02_diff_1k", "rusty_metal_02", "colour"),  # Poly Haven
        ("rusty_metal_02_nor_gl_1k", "rusty_metal_02", "normal"),
        ("rusty_metal_02_arm_1k", "rusty_metal_02", ""),
        ("TexturesCom_Steel_1K_albedo", "texturescom_steel_1k", "colour"),  # textures.com
        ("T_Steel_BaseColor", "t_steel", "colour"),  # Substance
        ("T_Steel_base_color", "t_steel", "colour"),
        ("wall_normal_03", "wall_03", "normal"),
        ("roughness", "", "roughness"),
        ("Metal032", "metal032", None),
        ("000000012345", "000000012345", None),
        ("wood", "wood", None),
    ],
)
def test_the_role_of_a_picture(stem, name, role):
    assert split_role(stem) == (name, role)


def sets(*names):
    found, warnings = texture_sets([Path("/t", name) for name in names], Path("/t"))
    return {
        one.name: {r: p.relative_to("/t").as_posix() for r, p in one.images.items()} for one in found
    }, warnings


def test_two_sets_side_by_side_by_their_prefix():
    found, warnings = sets(
        "rust_col.jpg", "rust_rough.jpg", "rust_nrm.png", "steel_col.jpg", "steel_metal.jpg", "steel_disp.exr"
    )  # fmt: skip
    assert found == {
        "rust": {"colour": "rust_col.jpg", "roughness": "rust_rough.jpg", "normal": "rust_nrm.png"},
        "steel": {"colour": "steel_col.jpg", "metallic": "steel_metal.jpg", "height": "steel_disp.exr"},
    }
    assert warnings == ()


def test_a_set_in_a_folder_of_its_own_is_called_like_the_folder():
    found, _ = sets("rust/albedo.png", "rust/ao.png", "steel/albedo.png", "steel/normal.png")
    assert found == {
        "rust": {"colour": "rust/albedo.png", "ao": "rust/ao.png"},
        "steel": {"colour": "steel/albedo.png", "normal": "steel/normal.png"},
    }


def test_numbered_variants_are_sets_of_their_own():
    found, _ = sets("wall_color_01.png", "wall_color_02.png", "wall_normal_01.png", "wall_normal_02.png")
    assert found == {
        "wall_01": {"colour": "wall_color_01.png", "normal": "wall_normal_01.png"},
        "wall_02": {"colour": "wall_color_02.png", "normal": "wall_normal_02.png"},
    }


def test_photographs_are_plain_pictures_whatever_they_are_called():
    names = ("IMG_0001.jpg", "IMG_0002.jpg", "brushed metal.jpg", "colour_7.jpg", "mask.png", "sub/wood.jpg")
    assert sets(*names) == ({name.rsplit(".", 1)[0]: {"colour": name} for name in names}, ())


def test_previews_and_packed_maps_beside_a_set_are_left_out_in_silence():
    found, warnings = sets(
        "Metal032.png", "Metal032_1K-JPG_Color.jpg", "Metal032_1K-JPG_Roughness.jpg",
        "Metal032_1K-JPG_ARM.jpg",
        "metals.png",
    )  # fmt: skip
    assert list(found) == ["metal032_1k-jpg", "metals"]
    assert sorted(found["metal032_1k-jpg"]) == ["colour", "roughness"]
    assert warnings == ()


def test_a_packed_map_makes_a_set_of_its_colour():
    assert sets("bark_diff_1k.jpg", "bark_arm_1k.jpg")[0] == {"bark": {"colour": "bark_diff_1k.jpg"}}


def test_of_two_normal_maps_the_one_with_green_upwards_is_taken():
    found, warnings = sets("a_Color.png", "a_NormalDX.png", "a_NormalGL.png")
    assert found == {"a": {"colour": "a_Color.png", "normal": "a_NormalGL.png"}}
    assert warnings == ()


def test_what_is_left_out_is_said():
    found, warnings = sets("a_Color.png", "a_NormalDX.png", "b_normal.png", "b_roughness.png")
    assert found == {"a": {"colour": "a_Color.png"}}
    assert len(warnings) == 2
    assert "a_NormalDX.png: left out: expected a normal map with green upwards" in warnings[0]
    assert "/t/b*: left out: expected a colour among its pictures, got normal, roughness" in warnings[1]
