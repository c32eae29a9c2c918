from dataclasses import fields

from forebay.s3.dialect import ALLUXIO, AWS, DIFFERENCES, Dialect


def test_every_field_is_a_row_of_the_table_and_differs():
    names = [field.name for field in fields(Dialect)][1:]
    assert len(names) == len(DIFFERENCES)
    for name, (point, alluxio, aws) in zip(names, DIFFERENCES, strict=True):
        assert getattr(ALLUXIO, name) != getattr(AWS, name), name
        assert alluxio != aws, point


def test_the_rows_say_what_the_values_are():
    rows = {point: (alluxio, aws) for point, alluxio, aws in DIFFERENCES}
    assert rows["Tags of a bucket"] == (str(ALLUXIO.bucket_tag_limit), str(AWS.bucket_tag_limit))
    assert rows["XML namespace"] == ("none", f"`{AWS.xml_namespace}`")
    assert rows["Content-Type when none was given"] == (
        f"`{ALLUXIO.default_content_type}`",
        f"`{AWS.default_content_type}`",
    )
